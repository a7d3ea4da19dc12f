// SPDX-License-Identifier: Apache-2.0
#include "fusefs/mount_context.h"

#include <fcntl.h>

#include <filesystem>
#include <string>

namespace chainfs::fusefs {
namespace {

// The directory of an image that is there no more, because its chain has moved on without it.
UniqueFd OpenSource(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (fd.valid()) return fd;
  const std::string directory = std::filesystem::path(path).parent_path().string();
  return UniqueFd(
      ::open(directory.empty() ? "." : directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

MountContext::MountContext(const Options& with, Catalog& chains, control::ControlPlane& plane,
                           unsigned served_at_once)
    : options(with),
      catalog(chains),
      control(plane),
      threads(served_at_once),
      first_source(OpenSource(with.sources.front().path)),
      attributes(with),
      events(plane.events),
      watcher(chains, [this] { presenter_.AnnounceChangedModes(); }),
      presenter_(inodes, attributes, invalidator, loops, watcher, events, threads) {
  control.Present(&presenter_);
  catalog.SetWakeUp([this] { watcher.ScanSoon(); });
}

MountContext::~MountContext() {
  catalog.SetWakeUp({});
  control.Present(nullptr);
}

}  // namespace chainfs::fusefs
