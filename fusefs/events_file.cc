// SPDX-License-Identifier: Apache-2.0
#include "fusefs/events_file.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

namespace chainfs::fusefs {
namespace {

constexpr size_t kMaxReply = size_t{1} << 20;

// What to send for a parked request.
struct Answer {
  fuse_req_t req;
  int error;  // 0: `text`
  std::string text;
};

void Send(const Answer& answer) {
  if (answer.error != 0) {
    fuse_reply_err(answer.req, answer.error);
  } else {
    fuse_reply_buf(answer.req, answer.text.data(), answer.text.size());
  }
}

}  // namespace

EventsFile::EventsFile(jobs::EventLog& log) : log_(log) {
  news_ = log_.AddNewsCallback([this] { Wake(); });
  pump_ = std::thread([this] { PumpLoop(); });
}

EventsFile::~EventsFile() { Stop(); }

std::unique_ptr<EventsFile::Reader> EventsFile::Open() {
  auto reader = std::make_unique<Reader>();
  reader->cursor = log_.OldestSequence();
  const MutexLock lock(mu_);
  if (readers_.size() >= kMaxReaders) return nullptr;
  readers_.push_back(reader.get());
  return reader;
}

void EventsFile::Close(std::unique_ptr<Reader> reader) {
  {
    const MutexLock lock(mu_);
    readers_.remove(reader.get());
  }
  if (reader->poll != nullptr) fuse_pollhandle_destroy(reader->poll);
}

int EventsFile::Read(fuse_req_t req, Reader* reader, size_t size, bool nonblocking) {
  // Set before parking, see FS-10; harmless when the answer comes at once.
  fuse_req_interrupt_func(req, &EventsFile::OnInterrupt, this);
  std::string text;
  {
    const MutexLock lock(mu_);
    bool too_small = false;
    text = log_.Read(&reader->cursor, std::min(size, kMaxReply), &too_small);
    if (too_small) return EINVAL;
    if (text.empty() && !ended_ && !reader->released) {
      if (nonblocking) return EAGAIN;
      if (parked_.size() >= kMaxParked) return EBUSY;
      parked_.push_back({.req = req, .reader = reader, .size = size});
      // News or an interruption may have come in between; let the pump look.
      Wake();
      return -1;
    }
  }
  fuse_reply_buf(req, text.data(), text.size());
  return -1;
}

unsigned EventsFile::Poll(Reader* reader, fuse_pollhandle* handle) {
  fuse_pollhandle* old = handle;
  bool readable = false;
  {
    const MutexLock lock(mu_);
    readable = ended_ || reader->released || log_.HasNews(reader->cursor);
    if (handle != nullptr) std::swap(reader->poll, old);
  }
  if (old != nullptr && old != handle) fuse_pollhandle_destroy(old);
  if (handle != nullptr) Wake();  // for news that came before the handle was in place
  return readable ? POLLIN | POLLRDNORM : 0;
}

void EventsFile::Release() {
  {
    const MutexLock lock(mu_);
    for (Reader* reader : readers_) reader->released = true;
  }
  Wake();
}

void EventsFile::End() {
  {
    const MutexLock lock(mu_);
    ended_ = true;
  }
  Wake();
}

void EventsFile::Stop() {
  End();
  {
    const MutexLock lock(kick_mu_);
    stop_ = true;
  }
  kicked_.NotifyAll();
  if (pump_.joinable()) {
    log_.RemoveNewsCallback(news_);
    pump_.join();
  }
}

void EventsFile::OnInterrupt(fuse_req_t, void* self) { static_cast<EventsFile*>(self)->Wake(); }

void EventsFile::Wake() {
  {
    const MutexLock lock(kick_mu_);
    kick_ = true;
  }
  kicked_.NotifyOne();
}

void EventsFile::PumpLoop() {
  for (bool stop = false; !stop;) {
    {
      const MutexLock lock(kick_mu_);
      while (!kick_ && !stop_) kicked_.Wait(kick_mu_);
      kick_ = false;
      stop = stop_;
    }
    Pump();
  }
}

void EventsFile::Pump() {
  std::vector<Answer> answers;
  std::vector<fuse_pollhandle*> polls;
  {
    const MutexLock lock(mu_);
    for (auto it = parked_.begin(); it != parked_.end();) {
      std::optional<Answer> answer;
      if (fuse_req_interrupted(it->req) != 0) {
        answer = Answer{it->req, EINTR, ""};
      } else {
        bool too_small = false;
        std::string text =
            log_.Read(&it->reader->cursor, std::min(it->size, kMaxReply), &too_small);
        if (!text.empty() || too_small || ended_ || it->reader->released) {
          answer = Answer{it->req, too_small ? EINVAL : 0, std::move(text)};
        }
      }
      if (answer) {
        answers.push_back(*std::move(answer));
        it = parked_.erase(it);
      } else {
        ++it;
      }
    }
    for (Reader* reader : readers_) {
      const bool readable = ended_ || reader->released || log_.HasNews(reader->cursor);
      if (reader->poll != nullptr && readable) {
        polls.push_back(std::exchange(reader->poll, nullptr));
      }
    }
  }
  for (const Answer& answer : answers) Send(answer);
  for (fuse_pollhandle* poll : polls) {
    fuse_lowlevel_notify_poll(poll);
    fuse_pollhandle_destroy(poll);
  }
}

}  // namespace chainfs::fusefs
