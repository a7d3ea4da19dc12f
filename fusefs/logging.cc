// SPDX-License-Identifier: Apache-2.0
#include "fusefs/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>
#include <unistd.h>

#include <memory>

namespace chainfs {

void StartLogging(bool foreground, bool debug) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("chainfs", std::move(sink));
  logger->set_pattern(foreground ? "%Y-%m-%d %H:%M:%S.%e chainfs: %l: %v" : "chainfs: %l: %v");
  logger->set_level(debug        ? spdlog::level::debug
                    : foreground ? spdlog::level::info
                                 : spdlog::level::warn);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void LogToSyslog() {
  auto sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("chainfs", LOG_PID, LOG_DAEMON, true);
  auto logger = std::make_shared<spdlog::logger>("chainfs", std::move(sink));
  logger->set_pattern("%v");
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace chainfs
