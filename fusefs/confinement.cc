// SPDX-License-Identifier: Apache-2.0
#include "fusefs/confinement.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace chainfs::fusefs {
namespace {

std::string DirectoryAbove(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

}  // namespace

sandbox::Policy PolicyOf(const Options& options) {
  sandbox::Policy policy;
  const CatalogOptions& catalog = options.catalog;
  std::vector<std::string>& images = catalog.read_only ? policy.read : policy.written;
  for (const SourceSpec& source : options.sources) {
    std::error_code unknown;
    const bool directory = std::filesystem::is_directory(source.path, unknown);
    images.push_back(directory ? source.path : DirectoryAbove(source.path));
    // An image may be named by a link; its file is another one's.
    const std::filesystem::path real = std::filesystem::canonical(source.path, unknown);
    if (!directory && !real.empty()) images.push_back(real.parent_path().string());
  }
  for (const std::vector<std::string>* const more :
       {&catalog.backing_dirs, &catalog.target_dirs, &catalog.data_dirs}) {
    images.insert(images.end(), more->begin(), more->end());
  }
  if (!catalog.state_directory.empty()) policy.written.push_back(catalog.state_directory);
  if (!options.qmp.empty()) policy.sockets.push_back(DirectoryAbove(options.qmp));
  return policy;
}

Status ConfineDaemon(const Options& options) {
  if (!options.sandbox) return {};
  // Nothing can be made beside the state directory later.
  const std::string& state = options.catalog.state_directory;
  std::error_code failed;
  if (!state.empty() && std::filesystem::create_directories(state, failed)) {
    ::chmod(state.c_str(), 0700);
  }
  CHAINFS_ASSIGN(const std::vector<std::string> lacking, sandbox::Confine(PolicyOf(options)));
  for (const std::string& what : lacking) spdlog::warn("sandbox: {}", what);
  return {};
}

}  // namespace chainfs::fusefs
