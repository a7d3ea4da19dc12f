// SPDX-License-Identifier: Apache-2.0
#include "fusefs/mount_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "blocklayer/base/timestamp.h"
#include "ctl/control/errno_map.h"
#include "ctl/control/status_json.h"
#include "fusefs/disk_mode.h"
#include "fusefs/status_attributes.h"

namespace chainfs::fusefs {
namespace {

constexpr size_t kMostLostErrors = 256;

bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// The directory of an image that is there no more, because its chain has moved on without it.
UniqueFd OpenSource(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (fd.valid()) return fd;
  const std::string directory = std::filesystem::path(path).parent_path().string();
  return UniqueFd(
      ::open(directory.empty() ? "." : directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

AttributeOverrides OverridesOf(const Node& node) {
  const MutexLock lock(node.mu);
  return node.overrides;
}

std::string ErrorJson(std::string_view attribute, const Error& error) {
  return control::RefusalJson(std::chrono::system_clock::now(), attribute, control::ErrnoOf(error),
                              error.message);
}

const timespec& StartTime() {
  static const timespec start = RealTimeNow();
  return start;
}

}  // namespace

MountState::MountState(const Options& with, Catalog& chains, jobs::EventLog& log,
                       jobs::JobManager& job_manager, unsigned served_at_once)
    : options(with),
      catalog(chains),
      event_log(log),
      jobs(job_manager),
      threads(served_at_once),
      owner_uid(with.uid.value_or(::getuid())),
      owner_gid(with.gid.value_or(::getgid())),
      daemon_uid(::getuid()),
      first_source(OpenSource(with.sources.front().path)),
      events(log),
      commands(chains, job_manager, [this] { events.Release(); }),
      watcher(chains, [this] { AnnounceChangedModes(); }) {
  StartTime();
  catalog.SetObserver(this);
  catalog.SetWakeUp([this] { watcher.ScanSoon(); });
  for (const DiskPtr& disk : catalog.Disks()) inodes.Add(served.Add(disk));
  for (const BrokenImage& image : catalog.Broken()) ImageBroken(image);
  for (const ImageNote& note : catalog.Notes()) {
    if (note.warning) Warned(note);
    if (!note.warning) {
      spdlog::info("{}{}{}", note.name, note.name.empty() ? "" : ": ", note.text);
    }
  }
}

MountState::~MountState() {
  catalog.SetWakeUp({});
  catalog.SetObserver(nullptr);
}

bool MountState::MayCommand(const Caller& caller, fuse_req_t req) const {
  if (caller.uid == 0 || caller.uid == daemon_uid) return true;
  if (!options.control_gid) return false;
  if (caller.gid == *options.control_gid) return true;
  // Supplementary groups come from /proc of the caller, which waits for us in setxattr; pid 0 is a
  // process that this one cannot see.
  if (caller.pid == 0) return false;
  std::vector<gid_t> groups(64);
  int count = fuse_req_getgroups(req, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<size_t>(count));
    count = fuse_req_getgroups(req, count, groups.data());
  }
  if (count < 0) return false;
  groups.resize(std::min(groups.size(), static_cast<size_t>(count)));
  return std::ranges::find(groups, *options.control_gid) != groups.end();
}

mode_t MountState::ModeOfDisk(const Node& node) const {
  const AttributeOverrides set = OverridesOf(node);
  const mode_t usual = set.permissions.value_or(0666u & ~options.umask);
  const mode_t writing = node.disk->read_only() ? 0u : 0222u;
  return usual & (0555u | writing) & (PermittedModeOf(node) | 0111u);
}

mode_t MountState::PermittedModeOf(const Node& node) const {
  const AttributeOverrides set = OverridesOf(node);
  const ShownOwner shown = {.uid = set.uid.value_or(owner_uid),
                            .gid = set.gid.value_or(owner_gid),
                            .uid_given = set.uid || options.uid,
                            .gid_given = !set.gid && options.gid,
                            .daemon_uid = daemon_uid,
                            .allow_other = options.allow_other};
  return PermittedBits(shown, *node.disk);
}

mode_t MountState::ModeOf(const Node& node) const {
  switch (node.kind) {
    case NodeKind::kRoot:
      return S_IFDIR | (0777u & ~options.umask);
    case NodeKind::kControlDirectory:
    case NodeKind::kMapDirectory:
      return S_IFDIR | (options.control_gid ? 0750u : 0700u);
    case NodeKind::kDisk:
      return S_IFREG | ModeOfDisk(node);
    case NodeKind::kEvents:
    case NodeKind::kChains:
    case NodeKind::kJobs:
    case NodeKind::kMetrics:
    case NodeKind::kLayers:
    case NodeKind::kMap:
      return S_IFREG | (options.control_gid ? 0440u : 0400u);
  }
  return 0;
}

struct stat MountState::StatOf(Node& node) const {
  struct stat st = {};
  st.st_ino = node.shown_ino;
  st.st_mode = ModeOf(node);
  st.st_nlink = IsDirectory(node.kind) ? 2 : 1;
  st.st_uid = owner_uid;
  const bool control = node.kind != NodeKind::kRoot && node.kind != NodeKind::kDisk;
  st.st_gid = control ? options.control_gid.value_or(owner_gid) : owner_gid;
  st.st_blksize = 4096;
  st.st_mtim = st.st_ctim = st.st_atim = StartTime();
  if (node.kind == NodeKind::kDisk) {
    node.shown_mode = st.st_mode;
    st.st_size = static_cast<off_t>(node.disk->size());
    const Result<uint64_t> allocated = node.disk->AllocatedBytes();
    st.st_blocks = static_cast<blkcnt_t>(allocated.value_or(0) / 512);
    st.st_mtim = st.st_ctim = st.st_atim = node.disk->modified();
  }
  const AttributeOverrides set = OverridesOf(node);
  if (set.permissions && node.kind != NodeKind::kDisk) {
    st.st_mode = (st.st_mode & S_IFMT) | *set.permissions;
  }
  if (set.uid) st.st_uid = *set.uid;
  if (set.gid) st.st_gid = *set.gid;
  if (set.accessed) st.st_atim = *set.accessed;
  if (set.modified &&
      (node.kind != NodeKind::kDisk || SameTime(set.modified_when_set, st.st_ctim))) {
    st.st_mtim = *set.modified;
  }
  return st;
}

void MountState::Refused(Node& node, std::string_view attribute, const Error& error) {
  spdlog::info("refused {} on {}: {} ({})", attribute,
               node.kind == NodeKind::kRoot ? "the mount" : node.name, error.message,
               control::ErrnoName(control::ErrnoOf(error)));
  RememberError(node, attribute, error);
}

void MountState::JobFailed(const std::string& disk, const std::string& type, const Error& error) {
  const std::string attribute = fmt::format("{}{}", kAttributePrefix, type);
  const NodePtr node = inodes.FindByName(NodeKind::kRoot, fmt::format("{}.raw", disk));
  RememberError(node != nullptr ? *node : *inodes.root(), attribute, error);
  if (node != nullptr) return;
  const MutexLock lock(lost_mu_);
  if (lost_errors_.size() >= kMostLostErrors) lost_errors_.erase(lost_errors_.begin());
  lost_errors_[disk] = ErrorJson(attribute, error);
}

void MountState::GiveBackError(const Disk& disk) {
  const MutexLock lock(lost_mu_);
  const auto lost = lost_errors_.find(disk.name());
  if (lost == lost_errors_.end()) return;
  if (const NodePtr node = inodes.FindDisk(disk)) {
    const MutexLock node_lock(node->mu);
    node->last_error = std::move(lost->second);
  }
  lost_errors_.erase(lost);
}

int MountState::Refuse(Node& node, std::string_view operation, int error, const std::string& what) {
  spdlog::debug("refused {} on {}: {}", operation, node.name, what);
  RememberJson(node,
               control::RefusalJson(std::chrono::system_clock::now(), operation, error, what));
  return error;
}

int MountState::Failed(Node& node, std::string_view operation, const Error& error) {
  const int number = control::ErrnoOf(error);
  const std::string cure =
      error.kind == ErrorKind::kNoSpace ? "; make room on the file system of the image" : "";
  const std::string what = error.kind == ErrorKind::kReadOnly && node.disk != nullptr
                               ? ReadOnlySentence(*node.disk)
                               : error.message + cure;
  return Refuse(node, operation, number, fmt::format("{} failed: {}", operation, what));
}

std::string MountState::ReadOnlySentence(const Disk& disk) const {
  return fmt::format("{} is read-only: {}", disk.name(), disk.ReadOnlyReason());
}

void MountState::RememberError(Node& node, std::string_view attribute, const Error& error) {
  RememberJson(node, ErrorJson(attribute, error));
}

void MountState::RememberJson(Node& node, const std::string& json) {
  {
    const MutexLock lock(node.mu);
    node.last_error = json;
  }
  const NodePtr root = inodes.root();
  if (root.get() == &node) return;
  const MutexLock lock(root->mu);
  root->last_error = json;
}

void MountState::AnnounceChangedModes() {
  for (const NodePtr& node : inodes.List(NodeKind::kRoot)) {
    if (node->shown_mode != 0 && node->shown_mode != ModeOf(*node)) {
      invalidator.Attributes(node->ino);
    }
  }
}

void MountState::ForgetNames(const Disk& disk, const InodeTable::NameChange& change) {
  if (change.disk_known) invalidator.Entry(kRootInode, disk.name() + ".raw");
  if (change.map_known) invalidator.Entry(kMapInode, disk.name() + ".json");
}

void MountState::DiskAdded(const DiskPtr& disk) {
  const InodeTable::NameChange change = inodes.Add(served.Add(disk));
  if (!change) return;
  spdlog::info("disk {} appeared", disk->name());
  GiveBackError(*disk);
  ForgetNames(*disk, change);
  watcher.DiskAppeared();
  jobs.RetryRecorded();
}

void MountState::DiskRemoved(const DiskPtr& disk) {
  const InodeTable::NameChange change = inodes.Remove(*disk);
  served.Remove(*disk);
  if (!change) return;
  spdlog::info("disk {} is gone", disk->name());
  ForgetNames(*disk, change);
}

void MountState::ChainChanged(const DiskPtr& disk) {
  // Contents are the same; only what stat shows of allocation and mode may differ.
  if (const NodePtr node = inodes.FindDisk(*disk)) invalidator.Attributes(node->ino);
}

void MountState::ContentsChanged(const DiskPtr& disk) {
  const NodePtr node = inodes.FindDisk(*disk);
  if (node == nullptr) return;
  ++node->stale_pages;
  invalidator.Contents(node->ino, [node] { --node->stale_pages; });
}

void MountState::AccessChanged(const DiskPtr& disk) {
  if (const NodePtr node = inodes.FindDisk(*disk)) invalidator.Attributes(node->ino);
  jobs.RetryRecorded();
}

void MountState::DiskError(const Disk& disk, std::string_view operation, const Error& error) {
  const NodePtr node = inodes.FindDisk(disk);
  if (node != nullptr) Failed(*node, operation, error);
  // A guest that keeps trying must not fill the log: one report a second and disk is enough.
  const int64_t now = RealTimeNow().tv_sec;
  if (node != nullptr && node->last_error_report.exchange(now) == now) return;
  spdlog::error("disk {}: {} failed: {}", disk.name(), operation, error.message);
  if (const std::string why = disk.ReadOnlyReason(); !why.empty() && operation != "read") {
    spdlog::error("disk {} is read-only: {}", disk.name(), why);
  }
  event_log.Publish(error.kind == ErrorKind::kCorrupt ? "BLOCK_IMAGE_CORRUPTED" : "BLOCK_IO_ERROR",
                    {jobs::TextField("disk", disk.name()), jobs::TextField("operation", operation),
                     jobs::TextField("error", ErrorKindName(error.kind)),
                     jobs::TextField("reason", error.message)});
  if (node != nullptr) invalidator.Attributes(node->ino);
}

void MountState::Warned(const ImageNote& note) {
  spdlog::warn("{}: {}", note.name, note.text);
  if (!note.lost) return;
  const NodePtr node = inodes.FindByName(NodeKind::kRoot, fmt::format("{}.raw", note.name));
  if (node != nullptr) Refuse(*node, "scan", ENOENT, note.text);
}

void MountState::ImageBroken(const BrokenImage& image) {
  const bool named = image.error.message.starts_with(image.path);  // the path once is enough
  const std::string what =
      fmt::format("{}{}{}", named ? "" : image.path, named ? "" : ": ", image.error.message);
  spdlog::warn("an image is not shown: {}", what);
  // A backing file or an active layer is lost. What else is wrong with an image is in the list.
  if (image.error.kind == ErrorKind::kNotFound) Refuse(*inodes.root(), "scan", ENOENT, what);
}

}  // namespace chainfs::fusefs
