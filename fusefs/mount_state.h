// SPDX-License-Identifier: Apache-2.0
//
// MountState: everything a FUSE handler may use, tied together; what libfuse hands to each of them
// as user data. It also is the catalog's observer: a change of the chains becomes nodes, events and
// invalidations here.
//
// Lock order: see README.md. Observer calls may arrive with the catalog's lock held, so they touch
// only the inode table, the invalidator's queue and the event log.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "blocklayer/base/unique_fd.h"
#include "blocklayer/catalog/catalog.h"
#include "ctl/control/commands.h"
#include "ctl/control/served_disks.h"
#include "fusefs/events_file.h"
#include "fusefs/handles.h"
#include "fusefs/inodes.h"
#include "fusefs/invalidator.h"
#include "fusefs/options.h"
#include "fusefs/source_watcher.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::fusefs {

class MountState final : public CatalogObserver {
 public:
  MountState(const Options& with, Catalog& chains, jobs::EventLog& event_log,
             jobs::JobManager& job_manager, unsigned served_at_once);
  ~MountState() override;

  // The identity of a caller as the kernel gives it.
  struct Caller {
    uid_t uid = 0;
    gid_t gid = 0;
    pid_t pid = 0;
  };
  // Commands are for root, the daemon's user and members of control_gid.
  bool MayCommand(const Caller& caller, fuse_req_t req) const;

  struct stat StatOf(Node& node) const;
  // The most that chmod may give to a disk, bits of 0666 (disk_mode.h).
  mode_t PermittedModeOf(const Node& node) const;
  // Remembers and logs a refused command.
  void Refused(Node& node, std::string_view attribute, const Error& error);
  // Remembers why a file operation was refused or failed; its errno. `what` is a sentence, or, with
  // an Error, the sentence is made of it.
  int Refuse(Node& node, std::string_view operation, int error, const std::string& what);
  int Failed(Node& node, std::string_view operation, const Error& error);
  // "vm1 is read-only: vm2 is built on it".
  std::string ReadOnlySentence(const Disk& disk) const;
  // Remembers why a job failed or stands still; for a disk that is not there, until it comes back.
  // Takes only the inode table's lock, nodes' and lost_mu_.
  void JobFailed(const std::string& disk, const std::string& type, const Error& error);
  // Looks at every disk for changes that no observer call announces (read-only or not; modes of
  // images and directories).
  void AnnounceChangedModes();

  void DiskAdded(const DiskPtr& disk) override;
  void DiskRemoved(const DiskPtr& disk) override;
  void ChainChanged(const DiskPtr& disk) override;
  void ContentsChanged(const DiskPtr& disk) override;
  void AccessChanged(const DiskPtr& disk) override;
  void DiskError(const Disk& disk, std::string_view operation, const Error& error) override;
  void ImageBroken(const BrokenImage& image) override;
  void Warned(const ImageNote& note) override;

  const Options& options;
  Catalog& catalog;
  jobs::EventLog& event_log;
  jobs::JobManager& jobs;
  const unsigned threads;
  const uid_t owner_uid;  // of what is shown
  const gid_t owner_gid;
  const uid_t daemon_uid;
  // For the host's free space. Not looked up by name again: it could come to lead to this mount.
  const UniqueFd first_source;

  control::ServedDisks served;
  InodeTable inodes;
  Invalidator invalidator;
  DirectWriteFence fence;
  EventsFile events;
  OpenFiles open_files;
  control::Commands commands;
  SourceWatcher watcher;

 private:
  // Has the kernel forget what it knew of the names of `disk`.
  void ForgetNames(const Disk& disk, const InodeTable::NameChange& change);
  mode_t ModeOf(const Node& node) const;
  mode_t ModeOfDisk(const Node& node) const;
  void RememberError(Node& node, std::string_view attribute, const Error& error);
  void RememberJson(Node& node, const std::string& json);
  void GiveBackError(const Disk& disk) EXCLUDES(lost_mu_);

  // What jobs failed of whose disk was not there just then: JSON by disk name.
  Mutex lost_mu_;
  std::map<std::string, std::string, std::less<>> lost_errors_ GUARDED_BY(lost_mu_);
};

}  // namespace chainfs::fusefs
