// SPDX-License-Identifier: Apache-2.0
//
// The contestants. Each shows one image as a flat file while the object lives; what they share is
// only that file, so every load runs on all of them unchanged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace chainfs::bench {

inline constexpr std::string_view kChainfs = "chainfs";
inline constexpr std::string_view kRival = "qsd";
inline constexpr std::string_view kLimit = "passthrough";
inline constexpr std::string_view kNative = "native";

struct Programs {
  std::string bin_dir;       // ours
  std::string qsd;           // qemu-storage-daemon
  std::string qsd_export;    // added to the rival's --export, such as ",num-queues=4"
  std::string chainfs_args;  // added to chainfs' -o, comma first
  std::string run_dir;       // mount points, logs, sockets
};

// What is done to the chain while it is shown.
struct BenchJob {
  std::string verb;    // stream (everything into the top), commit, mirror, backup
  std::string top;     // of a commit: the image whose contents go down into `base`
  std::string base;    // of a commit
  std::string target;  // of a mirror or a backup: a qcow2 image to be made
  uint64_t size = 0;   // of the disk, for a target
  // The disk goes on with the target of a mirror, which else is kept, or with the base of a commit,
  // which then begins with the active layer.
  bool moves = false;
};

class Contestant {
 public:
  virtual ~Contestant() = default;
  virtual std::string_view name() const = 0;
  // The flat file.
  virtual const std::string& file() const = 0;
  // Does it; returns when it is complete and durable.
  virtual void Run(const BenchJob& job);
  virtual uint64_t ResidentBytes() const;
};

// For jobs the rival's export is read-only: it refuses to stream what it exports writable
// ("permissions 'resize' are both required ... and unshared").
enum class Use { kReadWrite, kJobs };

// Starts a contestant on an image (the native one: shows the file itself).
std::unique_ptr<Contestant> StartContestant(const Programs& programs, std::string_view name,
                                            const std::string& image, Use use = Use::kReadWrite);

// Seconds from the start of chainfs on a directory until `count` disks are listed and the last of
// them has been read.
double MountSeconds(const Programs& programs, const std::string& dir, int count);

}  // namespace chainfs::bench
