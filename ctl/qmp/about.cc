// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/about.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "blocklayer/base/version/version.h"

namespace chainfs::qmp {
namespace {

using Json = nlohmann::ordered_json;

Json VersionJson() {
  return {{"qemu", {{"micro", 0}, {"minor", 2}, {"major", 7}}},
          {"package", fmt::format("chainfs {}", Version())}};
}

}  // namespace

Json Greeting() { return {{"QMP", {{"version", VersionJson()}, {"capabilities", Json::array()}}}}; }

Answer QueryVersion(Client& /*client*/, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  return VersionJson();
}

Answer QueryStatus(Client& /*client*/, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  return Json{{"status", "running"}, {"running", true}, {"singlestep", false}};
}

}  // namespace chainfs::qmp
