// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/bell.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace chainfs::qmp {
namespace {

// A counter that is full has been rung already.
void RingOne(int fd) {
  const uint64_t once = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd, &once, sizeof once);
}

}  // namespace

Result<Bell::Ear> Bell::Ear::Open(Bell& bell) {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return FailErrno(errno, "eventfd");
  return Ear(bell, std::move(fd));
}

Bell::Ear::Ear(Bell& bell, UniqueFd fd) : bell_(&bell), fd_(std::move(fd)) {
  bell_->Add(fd_.get());
}

Bell::Ear::Ear(Ear&& other) noexcept
    : bell_(std::exchange(other.bell_, nullptr)), fd_(std::move(other.fd_)) {}

Bell::Ear::~Ear() {
  if (bell_ != nullptr) bell_->Remove(fd_.get());
}

void Bell::Ear::Ring() const { RingOne(fd_.get()); }

void Bell::Ear::Heard() const {
  uint64_t rung = 0;
  [[maybe_unused]] const ssize_t got = ::read(fd_.get(), &rung, sizeof rung);
}

void Bell::Ring() {
  const MutexLock lock(mu_);
  for (const int fd : ears_) RingOne(fd);
}

void Bell::Add(int fd) {
  const MutexLock lock(mu_);
  ears_.push_back(fd);
}

void Bell::Remove(int fd) {
  const MutexLock lock(mu_);
  std::erase(ears_, fd);
}

}  // namespace chainfs::qmp
