// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/source_watcher.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace chainfs::control {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// News is collected until it has been quiet this long, but not for more than kLongestPause.
constexpr milliseconds kQuiet(100);
constexpr milliseconds kLongestPause(1000);
// How old a scan may be before somebody who asks for an unknown name causes one.
constexpr milliseconds kFresh(2000);
// Between scans that nothing but the clock asks for.
constexpr milliseconds kLeastPause(500);

constexpr uint32_t kWatchMask = IN_CREATE | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO |
                                IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                                IN_ONLYDIR;

bool Readable(int fd, milliseconds timeout) {
  pollfd poll_fd = {.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&poll_fd, 1, static_cast<int>(timeout.count())) > 0;
}

}  // namespace

SourceWatcher::SourceWatcher(Catalog& catalog, std::function<void()> after_scan)
    : catalog_(catalog),
      after_scan_(std::move(after_scan)),
      inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      kick_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!inotify_.valid()) {
    const bool too_many = errno == EMFILE;
    spdlog::warn("inotify: {}; new images appear when somebody asks for them",
                 too_many ? "too many users of it (sysctl fs.inotify.max_user_instances)"
                          : ErrnoText(errno));
  }
  AddWatches();
  const MutexLock lock(mu_);
  last_scan_ = steady_clock::now();
  wanted_ = true;  // what changed between the catalog's scan and the watches
}

SourceWatcher::~SourceWatcher() { Stop(); }

void SourceWatcher::Start() {
  thread_ = std::thread([this] { Loop(); });
  impatient_ = std::thread([this] { EndWaits(); });
}

void SourceWatcher::Stop() {
  std::vector<Waiting> waiting;
  {
    const MutexLock lock(mu_);
    stop_ = true;
    waiting.swap(waiting_);
    waiting_changed_.NotifyAll();
  }
  Kick();
  for (const Waiting& one : waiting) one.continuation();
  if (thread_.joinable()) thread_.join();
  if (impatient_.joinable()) impatient_.join();
}

bool SourceWatcher::AfterScan(uint64_t ticket, milliseconds patience,
                              const Continuation& continuation, bool anyway) {
  const bool news = NewsPending();
  bool queued = false;
  {
    const MutexLock lock(mu_);
    if (stop_) return false;
    if ((anyway || news || dirty_ || scanning_) && waiting_.size() < kMaxWaiting) {
      waiting_.push_back({.ticket = ticket,
                          .scan = scans_ + 1,
                          .deadline = steady_clock::now() + patience,
                          .continuation = continuation});
      waiting_changed_.NotifyAll();
      queued = true;
    } else {
      if (wanted_ || steady_clock::now() - last_scan_ < kFresh) return false;
      wanted_ = true;
    }
  }
  Kick();
  return queued;
}

bool SourceWatcher::AfterNewDisk(uint64_t ticket, milliseconds patience,
                                 const Continuation& continuation) {
  const MutexLock lock(mu_);
  if (stop_ || waiting_.size() >= kMaxWaiting) return false;
  waiting_.push_back({.ticket = ticket,
                      .scan = kNoScan,
                      .deadline = steady_clock::now() + patience,
                      .continuation = continuation});
  waiting_changed_.NotifyAll();
  return true;
}

void SourceWatcher::DiskAppeared() {
  const MutexLock lock(mu_);
  for (Waiting& one : waiting_) {
    if (one.scan == kNoScan) one.deadline = steady_clock::now();
  }
  waiting_changed_.NotifyAll();
}

bool SourceWatcher::ScanIsWaitedFor() const {
  return std::ranges::any_of(waiting_, [](const Waiting& one) { return one.scan != kNoScan; });
}

void SourceWatcher::Hurry(uint64_t ticket) {
  const MutexLock lock(mu_);
  for (Waiting& one : waiting_) {
    if (one.ticket == ticket) one.deadline = steady_clock::now();
  }
  waiting_changed_.NotifyAll();
}

std::vector<SourceWatcher::Waiting> SourceWatcher::TakeWaiting(
    const std::function<bool(const Waiting&)>& over) {
  std::vector<Waiting> taken;
  std::vector<Waiting> left;
  for (Waiting& one : waiting_) (over(one) ? taken : left).push_back(std::move(one));
  waiting_ = std::move(left);
  return taken;
}

void SourceWatcher::EndWaits() {
  for (;;) {
    std::vector<Waiting> over;
    {
      const MutexLock lock(mu_);
      if (stop_) return;
      const auto now = steady_clock::now();
      over = TakeWaiting([&](const Waiting& one) { return one.deadline <= now; });
      if (over.empty()) {
        const auto first = std::ranges::min_element(waiting_, {}, &Waiting::deadline);
        if (first == waiting_.end()) {
          waiting_changed_.Wait(mu_);
        } else {
          waiting_changed_.WaitUntil(mu_, first->deadline);
        }
      }
    }
    for (const Waiting& one : over) one.continuation();
  }
}

void SourceWatcher::ScanSoon() {
  {
    const MutexLock lock(mu_);
    if (stop_) return;
    wanted_ = true;
  }
  Kick();
}

void SourceWatcher::Loop() {
  while (WaitForNews()) ScanOnce();
}

std::optional<steady_clock::time_point> SourceWatcher::NextScan() const {
  std::optional<steady_clock::time_point> next = catalog_.NextRetry();
  const MutexLock lock(mu_);
  if (const auto retry = failed_.next(); retry && (!next || *retry < *next)) next = retry;
  if (next) next = std::max(*next, last_scan_ + kLeastPause);
  return next;
}

bool SourceWatcher::WaitForNews() {
  for (;;) {
    const std::optional<steady_clock::time_point> next = NextScan();
    const auto wait = std::chrono::ceil<milliseconds>(next.value_or(steady_clock::time_point()) -
                                                      steady_clock::now());
    if (next && wait.count() <= 0) return true;
    {
      const MutexLock lock(mu_);
      if (stop_) return false;
      if (wanted_ || dirty_ || ScanIsWaitedFor()) return true;
    }
    std::array<pollfd, 2> fds = {{{.fd = kick_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = inotify_.get(), .events = POLLIN, .revents = 0}}};
    ::poll(fds.data(), inotify_.valid() ? 2 : 1, next ? static_cast<int>(wait.count()) : -1);
    uint64_t kicks = 0;
    if (::read(kick_.get(), &kicks, sizeof kicks) > 0) continue;
    if (NewsPending()) CollectNews();
  }
}

void SourceWatcher::CollectNews() {
  {
    const MutexLock lock(mu_);
    dirty_ = true;
  }
  const auto deadline = steady_clock::now() + kLongestPause;
  do {
    DrainNews();
    // Somebody who waits, or Stop, ends the pause.
    if (Readable(kick_.get(), kQuiet)) return;
  } while (NewsPending() && steady_clock::now() < deadline);
}

void SourceWatcher::ScanOnce() {
  {
    const MutexLock lock(mu_);
    scanning_ = true;
    wanted_ = false;
    dirty_ = false;
    // Who comes during the scan waits for the next one: this one may have passed his file already.
    ++scans_;
  }
  DrainNews();
  const Status status = catalog_.Rescan();
  if (!status) spdlog::warn("looking for new images: {}", status.error().message);
  AddWatches();
  after_scan_();
  std::vector<Waiting> served;
  {
    const MutexLock lock(mu_);
    scanning_ = false;
    last_scan_ = steady_clock::now();
    if (status) failed_.Reset();
    if (!status) failed_.Failed(last_scan_);
    served = TakeWaiting([ended = scans_](const Waiting& one) { return one.scan <= ended; });
  }
  for (const Waiting& one : served) one.continuation();
}

void SourceWatcher::AddWatches() {
  if (!inotify_.valid()) return;
  for (const std::string& path : catalog_.WatchedDirectories()) {
    if (::inotify_add_watch(inotify_.get(), path.c_str(), kWatchMask) < 0) {
      spdlog::debug("inotify on {}: {}", path, ErrnoText(errno));
    }
  }
}

bool SourceWatcher::NewsPending() const {
  return inotify_.valid() && Readable(inotify_.get(), milliseconds(0));
}

void SourceWatcher::DrainNews() const {
  alignas(inotify_event) std::array<char, 16384> buffer;
  while (inotify_.valid() && ::read(inotify_.get(), buffer.data(), buffer.size()) > 0) {
  }
}

void SourceWatcher::Kick() const {
  const uint64_t one = 1;
  // The counter cannot overflow: the thread reads it away.
  if (::write(kick_.get(), &one, sizeof one) < 0) return;
}

}  // namespace chainfs::control
