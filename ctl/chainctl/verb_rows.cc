// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/verb_rows.h"

#include "ctl/chainctl/cmd_amend.h"
#include "ctl/chainctl/cmd_backup.h"
#include "ctl/chainctl/cmd_bitmap.h"
#include "ctl/chainctl/cmd_cancel.h"
#include "ctl/chainctl/cmd_chain.h"
#include "ctl/chainctl/cmd_change.h"
#include "ctl/chainctl/cmd_check.h"
#include "ctl/chainctl/cmd_commit.h"
#include "ctl/chainctl/cmd_complete.h"
#include "ctl/chainctl/cmd_create.h"
#include "ctl/chainctl/cmd_dismiss.h"
#include "ctl/chainctl/cmd_events.h"
#include "ctl/chainctl/cmd_flush.h"
#include "ctl/chainctl/cmd_info.h"
#include "ctl/chainctl/cmd_jobs.h"
#include "ctl/chainctl/cmd_layers.h"
#include "ctl/chainctl/cmd_list.h"
#include "ctl/chainctl/cmd_map.h"
#include "ctl/chainctl/cmd_max_layers.h"
#include "ctl/chainctl/cmd_mirror.h"
#include "ctl/chainctl/cmd_pause.h"
#include "ctl/chainctl/cmd_rebase.h"
#include "ctl/chainctl/cmd_resize.h"
#include "ctl/chainctl/cmd_resume.h"
#include "ctl/chainctl/cmd_revert.h"
#include "ctl/chainctl/cmd_snapshot.h"
#include "ctl/chainctl/cmd_speed.h"
#include "ctl/chainctl/cmd_stream.h"
#include "ctl/chainctl/cmd_thaw.h"
#include "ctl/chainctl/cmd_trace.h"
#include "ctl/chainctl/cmd_transaction.h"
#include "ctl/chainctl/cmd_umount.h"
#include "ctl/chainctl/cmd_wait.h"

namespace chainfs::chainctl {

std::vector<VerbRow> VerbRows() {
  return {ListVerb(),        InfoVerb(),      ChainVerb(),   MapVerb(),    LayersVerb(),
          StreamVerb(),      MirrorVerb(),    CommitVerb(),  BackupVerb(), SnapshotVerb(),
          TransactionVerb(), RevertVerb(),    RebaseVerb(),  ResizeVerb(), BitmapVerb(),
          ThawVerb(),        MaxLayersVerb(), TraceVerb(),   FlushVerb(),  JobsVerb(),
          WaitVerb(),        CancelVerb(),    PauseVerb(),   ResumeVerb(), SpeedVerb(),
          CompleteVerb(),    ChangeVerb(),    DismissVerb(), EventsVerb(), CreateVerb(),
          AmendVerb(),       CheckVerb(),     UmountVerb()};
}

}  // namespace chainfs::chainctl
