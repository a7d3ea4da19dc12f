// SPDX-License-Identifier: Apache-2.0
//
// chainfs: the daemon. Exit codes: 0 done (in the background: the mount serves), 1 failed, 2 usage.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "fusefs/daemon.h"
#include "fusefs/logging.h"

namespace chainfs::fusefs {
namespace {

int Complain(const Error& error, int exit_code) {
  fmt::print(stderr, "chainfs: {}\n", error.message);
  return exit_code;
}

int Main(const std::vector<std::string>& arguments) {
  EnsureStandardDescriptors();
  std::error_code ignored;
  const std::string here = std::filesystem::current_path(ignored).string();
  const Result<Options> options = ParseOptions(arguments, here.empty() ? "/" : here);
  if (!options) return Complain(options.error(), 2);
  if (!options->print_and_exit.empty()) {
    fmt::print("{}", options->print_and_exit);
    return 0;
  }
  Result<Background> background = Background::Enter(options->foreground);
  if (!background) return Complain(background.error(), 1);
  PrepareProcess();
  StartLogging(options->foreground, options->debug);
  const Status done = RunDaemon(*options, *background);
  if (done) return 0;
  if (!background->detached()) return Complain(done.error(), 1);
  spdlog::error("{}", done.error().message);
  return 1;
}

}  // namespace
}  // namespace chainfs::fusefs

int main(int argc, char** argv) {
  try {
    return chainfs::fusefs::Main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    fmt::print(stderr, "chainfs: {}\n", error.what());
    return 1;
  }
}
