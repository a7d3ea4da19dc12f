// SPDX-License-Identifier: Apache-2.0
//
// Copies of a disk to a target: blockdev-mirror and drive-mirror, blockdev-backup and drive-backup,
// and block-job-change. The blockdev- ones write to a file that blockdev-add has named and that is
// there; the drive- ones make it, unless mode is "existing".
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

enum class TargetBy : unsigned char { kNode, kFile };

// Of blockdev-backup or drive-backup, alone or as an action of a transaction.
std::expected<JobOrder, QmpError> TakeBackupOrder(Client& client, Parameters& parameters,
                                                  TargetBy by);

Answer BlockdevMirror(Client& client, Parameters& parameters);
Answer DriveMirror(Client& client, Parameters& parameters);
Answer BlockdevBackup(Client& client, Parameters& parameters);
Answer DriveBackup(Client& client, Parameters& parameters);
// To another copy mode.
Answer BlockJobChange(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
