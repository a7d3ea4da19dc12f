// SPDX-License-Identifier: Apache-2.0
//
// One function per verb. Each prints its result (stdout; people's notes go to stderr) and says how
// it ended; an Error is printed by the caller as "chainctl: VERB: message".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/chainctl/exit_code.h"
#include "ctl/chainctl/picture.h"

namespace chainfs::chainctl {

struct CommonOptions {
  bool json = false;     // machine-readable result
  bool verbose = false;  // print the equivalent setfattr lines
  bool quiet = false;    // no progress, no remarks
};

// What every waiting verb takes.
struct WaitingOptions {
  bool background = false;
  std::optional<double> timeout;   // seconds
  std::optional<int> progress_fd;  // N/100 lines
};

struct ListOptions {
  std::optional<std::string> mount;
};
Result<ExitCode> RunList(const ListOptions& options, const CommonOptions& common);

Result<ExitCode> RunInfo(const std::string& disk, const CommonOptions& common);
Result<ExitCode> RunChain(const std::string& disk, const CommonOptions& common);

struct MapOptions {
  std::string disk;
  std::optional<std::string> svg;  // a file name, "-" for stdout
  PictureStyle style = PictureStyle::kAuto;
  std::optional<size_t> width;
};
Result<ExitCode> RunMap(const MapOptions& options, const CommonOptions& common);

struct StreamOptions {
  std::string disk;
  std::optional<std::string> base, top, speed, on_error, id;
  std::optional<uint64_t> generation;
  bool dry_run = false;
  bool remove = false;  // what nobody needs afterwards
  WaitingOptions waiting;
};
Result<ExitCode> RunStream(const StreamOptions& options, const CommonOptions& common);

struct SnapshotOptions {
  std::string disk;
  std::optional<std::string> target, id;
  std::vector<std::string> format_options;  // KEY=VALUE[,KEY=VALUE]
  std::optional<uint64_t> generation;
  bool dry_run = false;
};
Result<ExitCode> RunSnapshot(const SnapshotOptions& options, const CommonOptions& common);
Result<ExitCode> RunFlush(const std::string& disk, const CommonOptions& common);

struct JobsOptions {
  std::optional<std::string> place;  // a disk or a mount; all mounts
  bool ids_only = false;
};
Result<ExitCode> RunJobs(const JobsOptions& options, const CommonOptions& common);

struct JobOptions {
  std::string disk;
  std::optional<std::string> id;  // the newest job
  WaitingOptions waiting;         // wait and cancel
};
Result<ExitCode> RunWait(const JobOptions& options, const CommonOptions& common);
Result<ExitCode> RunCancel(const JobOptions& options, const CommonOptions& common);
// "pause", "resume" or "dismiss".
Result<ExitCode> RunJobVerb(const std::string& verb, const JobOptions& options,
                            const CommonOptions& common);
Result<ExitCode> RunSpeed(const JobOptions& options, const std::string& limit,
                          const CommonOptions& common);

struct EventsOptions {
  std::optional<std::string> mount;
  bool follow = true;
};
Result<ExitCode> RunEvents(const EventsOptions& options, const CommonOptions& common);

struct CreateOptions {
  std::string image;
  std::optional<std::string> size, backing, backing_format;
  std::vector<std::string> format_options;  // KEY=VALUE[,KEY=VALUE]
};
Result<ExitCode> RunCreate(const CreateOptions& options, const CommonOptions& common);

struct LayersOptions {
  std::optional<std::string> place;  // a mount, or a directory of images; all mounts
};
Result<ExitCode> RunLayers(const LayersOptions& options, const CommonOptions& common);

struct RevertOptions {
  std::string disk;
  std::string layer;  // as `chain` shows it, or its file name
  bool yes = false;   // do not ask
};
Result<ExitCode> RunRevert(const RevertOptions& options, const CommonOptions& common);
Result<ExitCode> RunThaw(const std::string& disk, const CommonOptions& common);

struct UmountOptions {
  std::string mount;
  std::optional<double> timeout;  // seconds
};
Result<ExitCode> RunUmount(const UmountOptions& options, const CommonOptions& common);

}  // namespace chainfs::chainctl
