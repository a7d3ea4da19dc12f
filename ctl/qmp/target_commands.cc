// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/target_commands.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace chainfs::qmp {
namespace {

constexpr std::array<std::string_view, 3> kDrivers = {"qcow2", "raw", "file"};

// What QEMU knows of caches and locks has no meaning here: chainfs decides.
void IgnoreCommon(Parameters& parameters) {
  for (const std::string_view name : {"aio", "auto-read-only", "cache", "detect-zeroes", "discard",
                                      "force-share", "locking", "read-only"}) {
    parameters.Ignore(name);
  }
}

std::expected<std::string, QmpError> FileName(const nlohmann::json& file) {
  // The name of a node.
  if (file.is_string()) return Refuse("'file' must be an object with 'driver' and 'filename'");
  if (!file.is_object()) {
    return Refuse("Invalid parameter type for 'file', expected: object");
  }
  Parameters parameters(file, "file.");
  (void)parameters.OptionalText("node-name");
  (void)parameters.Word("driver", std::array<std::string_view, 1>{"file"});
  std::string name = parameters.Text("filename");
  IgnoreCommon(parameters);
  CHAINFS_TRY(parameters.Finish());
  return name;
}

QmpStatus CheckRegularFile(const std::string& path) {
  const auto refuse = [&](std::string_view why) {
    return Refuse(fmt::format("Could not open '{}': {}", path, why));
  };
  if (!path.starts_with('/')) return refuse("chainfs needs the whole path, from / on");
  struct stat st = {};
  if (::stat(path.c_str(), &st) != 0) return refuse(ErrnoText(errno));
  if (!S_ISREG(st.st_mode)) return refuse("not a regular file");
  return {};
}

}  // namespace

Answer BlockdevAdd(Client& client, Parameters& parameters) {
  const std::string driver = parameters.Word("driver", kDrivers);
  const std::optional<std::string> name = parameters.OptionalText("node-name");
  parameters.Ignore("backing");
  IgnoreCommon(parameters);
  std::expected<std::string, QmpError> path;
  if (driver == "file") {
    path = parameters.Text("filename");
  } else if (const nlohmann::json* const file = parameters.Any("file")) {
    path = FileName(*file);
  } else if (!driver.empty()) {
    path = Refuse("Parameter 'file' is missing");
  }
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_TRY(path);
  if (!name) return Refuse("'node-name' must be specified for the root node");
  // Others learn from the job what they may not look at here.
  if (client.caller.IsRoot()) CHAINFS_TRY(CheckRegularFile(*path));
  CHAINFS_TRY(client.nodes.AddTarget(
      *name, {.format = driver == "file" ? "raw" : driver, .path = *std::move(path)}));
  return nlohmann::ordered_json::object();
}

Answer BlockdevDel(Client& client, Parameters& parameters) {
  const std::string name = parameters.Text("node-name");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_TRY(client.nodes.RemoveTarget(name));
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
