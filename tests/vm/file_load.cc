// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/file_load.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "tests/vm/guest_data.h"

namespace chainfs::guest {
namespace {

constexpr uint64_t kFiles = 24;
constexpr size_t kMostWords = 24 << 10;  // 192 KiB
constexpr std::chrono::milliseconds kPause{5};

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : fd_(::open(path.c_str(), flags, 0644)) {
    if (fd_ < 0) Fail(path);
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

void FileLoad::Start() {
  stop_ = false;
  thread_ = std::thread([this] { Loop(); });
}

void FileLoad::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void FileLoad::Loop() {
  for (; !stop_; ++step_) {
    const std::string name = "f" + std::to_string(Mix(step_) % kFiles);
    switch (step_ % 8) {
      case 3:
      case 6:
        Check(name);
        break;
      case 7:
        Remove(name);
        break;
      default:
        Write(name);
    }
    std::this_thread::sleep_for(kPause);
  }
}

void FileLoad::Write(const std::string& name) {
  const Contents wanted = {.seed = Mix(step_ ^ 0xf11e), .words = 2 + Mix(~step_) % kMostWords};
  const std::vector<uint64_t> words = CheckedFile(wanted.seed, wanted.words);
  const MutexLock lock(mu_);
  const Timed timed(writes_);
  const std::string half = Path(name + ".tmp");
  {
    const Descriptor file(half, O_WRONLY | O_CREAT | O_TRUNC);
    const auto size = static_cast<ssize_t>(words.size() * 8);
    if (::write(file.get(), words.data(), static_cast<size_t>(size)) != size) Fail(half);
    if (::fsync(file.get()) != 0) Fail("fsync of " + half);
  }
  if (std::rename(half.c_str(), Path(name).c_str()) != 0) Fail("rename of " + half);
  files_[name] = wanted;
}

void FileLoad::Remove(const std::string& name) {
  const MutexLock lock(mu_);
  if (files_.erase(name) == 0) return;
  if (::unlink(Path(name).c_str()) != 0) Fail("removal of " + name);
}

void FileLoad::Check(const std::string& name) {
  const MutexLock lock(mu_);
  if (files_.contains(name)) CheckLocked(name);
}

void FileLoad::CheckLocked(const std::string& name) {
  const Contents& wanted = files_.at(name);
  const Descriptor file(Path(name), O_RDONLY);
  // It is clean since its fsync, so this is read from the disk.
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  std::vector<uint64_t> found(wanted.words + 1);
  const ssize_t got = ::read(file.get(), found.data(), found.size() * 8);
  if (got < 0) Fail("read of " + name);
  errno = 0;
  if (got != static_cast<ssize_t>(wanted.words * 8)) {
    Fail(name + " has " + std::to_string(got) + " bytes, not " + std::to_string(wanted.words * 8));
  }
  found.pop_back();
  if (found != CheckedFile(wanted.seed, wanted.words)) {
    Fail(name + " does not hold what was written");
  }
}

void FileLoad::Verify() {
  const MutexLock lock(mu_);
  for (const auto& [name, contents] : files_) CheckLocked(name);
}

}  // namespace chainfs::guest
