// SPDX-License-Identifier: Apache-2.0
//
// Mirrors of chains that the real qemu-img has made, and a guest that writes meanwhile and knows
// what it has written.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {

class MirrorFixture : public StreamFixture {
 protected:
  using Bytes = std::vector<std::byte>;
  using Pairs = std::vector<std::pair<std::string, std::string>>;

  // ---- The guest.

  static Bytes ReadAll(chainfs::Disk& disk) {
    Bytes bytes(disk.size());
    const auto read = disk.Read(GuestOffset(0), bytes);
    EXPECT_TRUE(read && *read == bytes.size());
    return bytes;
  }
  // What `name` shows now is what it shows to the guest from now on.
  void BeginGuest(const std::string& name) {
    guest_ = Disk(name);
    shown_ = ReadAll(*guest_);
  }
  void Write(uint64_t offset, uint64_t length, int value) {
    const Bytes data(length, static_cast<std::byte>(value));
    const Status written = guest_->Write(GuestOffset(offset), data);
    ASSERT_TRUE(written) << written.error().message;
    std::memcpy(shown_.data() + offset, data.data(), length);
  }
  void Zero(uint64_t offset, uint64_t length) {
    ASSERT_TRUE(guest_->WriteZeroes(GuestOffset(offset), length, false));
    std::memset(shown_.data() + offset, 0, length);
  }
  void WriteAnywhere(Random& random, int times) {
    for (int i = 0; i < times; ++i) {
      const uint64_t length = 512 * (1 + random.Below(200));
      const uint64_t offset = random.Below((shown_.size() - length) / 512) * 512;
      if (random.OneIn(5)) {
        Zero(offset, length);
      } else {
        Write(offset, length, static_cast<int>(random.Below(255)) + 1);
      }
    }
  }
  void ExpectGuestSees(const std::string& name) {
    const Bytes now = ReadAll(*Disk(name));
    ASSERT_EQ(now.size(), shown_.size());
    const auto differ = std::ranges::mismatch(now, shown_);
    EXPECT_TRUE(differ.in1 == now.end()) << name << " differs at " << differ.in1 - now.begin();
  }
  // By qemu-img, when nothing is open.
  void ExpectOnDisk(const std::string& file) {
    const std::string raw = At(".guest.raw");
    WriteTextFile(raw, std::string(reinterpret_cast<const char*>(shown_.data()), shown_.size()));
    Run({"qemu-img", "compare", "-f", FormatOf(file), "-F", "raw", At(file), raw});
    ExpectSound(file);
  }
  // Everything is let go of, so that the files can be looked at.
  void EndAll() {
    guest_.reset();
    CloseAll();
  }
  void Restart() {
    EndAll();
    OpenAll();
    jobs_->ResumeRecorded();
  }

  // ---- Jobs.

  Result<std::string> StartMirror(const std::string& disk, const Pairs& words,
                                  bool privileged = true) {
    verbs::Arguments arguments;
    for (const auto& [key, value] : words) arguments.Set(key, value);
    return jobs_->Start({.type = "mirror",
                         .disk = Disk(disk),
                         .arguments = std::move(arguments),
                         .privileged = privileged});
  }
  std::string Mirror(const std::string& disk, const Pairs& words) {
    const Result<std::string> id = StartMirror(disk, words);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  Error RefusedMirror(const std::string& disk, const Pairs& words, bool privileged = true) {
    const Result<std::string> id = StartMirror(disk, words, privileged);
    EXPECT_FALSE(id) << *id << " was accepted";
    return id ? Error{} : id.error();
  }
  JobInfo WaitStatus(const std::string& disk, const std::string& id, JobStatus status) {
    JobInfo info;
    WaitFor(
        [&] {
          const auto found = jobs_->Find(disk, id);
          if (found) info = *found;
          return found && (found->status == status || found->status == JobStatus::kConcluded);
        },
        "status of " + id);
    EXPECT_EQ(info.status, status) << info.error.value_or("");
    return info;
  }
  void Complete(const std::string& disk, const std::string& id, const std::string& then) {
    const Status done = jobs_->Complete(Disk(disk), id, verbs::Arguments().Set("then", then));
    ASSERT_TRUE(done) << done.error().message;
    const JobInfo info = WaitEnd(disk, id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
  }
  static std::string Fact(const JobInfo& info, std::string_view key) {
    for (const auto& [name, value] : info.facts) {
      if (name != key) continue;
      if (const auto* text = std::get_if<std::string>(&value)) return *text;
      if (const auto* yes = std::get_if<bool>(&value)) return *yes ? "true" : "false";
      return std::to_string(std::get<uint64_t>(value));
    }
    return "none";
  }
  bool Exists(const std::string& name) const { return ::access(At(name).c_str(), F_OK) == 0; }

  DiskPtr guest_;
  Bytes shown_;
};

}  // namespace chainfs::jobs
