// SPDX-License-Identifier: Apache-2.0
#include "fusefs/logging.h"

#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>
#include <unistd.h>

#include <memory>

namespace chainfs::fusefs {
namespace {

// One logger for the life of the process; where its lines go changes behind it, which is the only
// change that is safe while other threads log.
std::shared_ptr<spdlog::sinks::dist_sink_mt>& Destination() {
  static auto destination = std::make_shared<spdlog::sinks::dist_sink_mt>();
  return destination;
}

}  // namespace

void StartLogging(bool foreground, bool debug) {
  Destination()->set_sinks({std::make_shared<spdlog::sinks::stderr_sink_mt>()});
  auto logger = std::make_shared<spdlog::logger>("chainfs", Destination());
  logger->set_pattern(foreground ? "%Y-%m-%d %H:%M:%S.%e chainfs: %l: %v" : "chainfs: %l: %v");
  logger->set_level(debug        ? spdlog::level::debug
                    : foreground ? spdlog::level::info
                                 : spdlog::level::warn);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void LogToSyslog() {
  auto sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("chainfs", LOG_PID, LOG_DAEMON, true);
  sink->set_pattern("%v");
  Destination()->set_sinks({std::move(sink)});
  spdlog::default_logger_raw()->set_level(spdlog::level::info);
}

}  // namespace chainfs::fusefs
