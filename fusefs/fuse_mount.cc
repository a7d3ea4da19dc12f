// SPDX-License-Identifier: Apache-2.0
#include "fusefs/fuse_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <string_view>

#include "fusefs/fuse_ops.h"

namespace chainfs::fusefs {
namespace {

// Where errors of libfuse go while it mounts, so that a failure is one line. One thread mounts.
std::string* mount_errors = nullptr;

void LogFromLibrary(fuse_log_level level, const char* format, va_list arguments) {
  char line[1024];
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  std::string text(line, static_cast<size_t>(std::clamp<int>(length, 0, sizeof line - 1)));
  while (text.ends_with('\n')) text.pop_back();
  if (level <= FUSE_LOG_ERR && mount_errors != nullptr) {
    *mount_errors += text;
  } else if (level <= FUSE_LOG_ERR) {
    spdlog::error("libfuse: {}", text);
  } else if (level <= FUSE_LOG_INFO) {
    spdlog::info("libfuse: {}", text);
  } else {
    spdlog::debug("{}", text);
  }
}

// libfuse separates options by commas; `\` escapes.
std::string Escaped(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == ',' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string MountOptionList(const Options& options) {
  std::string list =
      fmt::format("default_permissions,nosuid,nodev,subtype=chainfs,max_read={}", kMaxTransfer);
  list += fmt::format(",fsname={}", Escaped(options.sources.front().path));
  if (options.allow_other) list += ",allow_other";
  if (options.catalog.read_only) list += ",ro";
  for (const std::string& word : options.mount_words) list += fmt::format(",{}", Escaped(word));
  return list;
}

// Why the mount failed, for people. `said`: by libfuse.
std::string MountFailure(const Options& options, std::string said) {
  constexpr std::string_view kPrefix = "fuse: ";
  if (said.starts_with(kPrefix)) said.erase(0, kPrefix.size());
  std::string failure = fmt::format("cannot mount on {}", options.mountpoint);
  if (!said.empty()) failure += fmt::format(" ({})", said);
  const bool labels = std::ranges::any_of(options.mount_words, [](const std::string& word) {
    return word.find("context=") != std::string::npos;
  });
  if (labels) return failure + "; context= and its like need a kernel that runs SELinux";
  return failure + "; is /dev/fuse usable, and user_allow_other set if allow_other is wanted?";
}

}  // namespace

LibfuseArguments::LibfuseArguments(const Options& options)
    : words_({"chainfs", "-o", MountOptionList(options)}) {
  if (options.debug) words_.emplace_back("-d");
  pointers_.reserve(words_.size());
  for (std::string& word : words_) pointers_.push_back(word.data());
  arguments_ = FUSE_ARGS_INIT(static_cast<int>(pointers_.size()), pointers_.data());
}

LibfuseArguments::~LibfuseArguments() { fuse_opt_free_args(&arguments_); }

void LogFromLibfuse() { fuse_set_log_func(LogFromLibrary); }

Result<UniqueFd> MountConnection(const Options& options) {
  LogFromLibfuse();
  LibfuseArguments arguments(options);
  std::string said;
  mount_errors = &said;
  const fuse_lowlevel_ops none = {};
  fuse_session* const session =
      fuse_session_new(arguments.get(), &none, sizeof(fuse_lowlevel_ops), nullptr);
  if (session == nullptr) {
    mount_errors = nullptr;
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("libfuse refuses the mount options ({})", said));
  }
  UniqueFd connection;
  if (fuse_session_mount(session, options.mountpoint.c_str()) == 0) {
    connection = UniqueFd(::fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 0));
  }
  mount_errors = nullptr;
  // It closes its file, and leaves the mount.
  fuse_session_destroy(session);
  if (!connection.valid()) return Fail(ErrorKind::kIo, MountFailure(options, std::move(said)));
  return connection;
}

}  // namespace chainfs::fusefs
