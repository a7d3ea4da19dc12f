// SPDX-License-Identifier: Apache-2.0
//
// The head of bench_contestant.h says what this is.
#include "tests/bench/bench_contestant.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "tests/bench/bench_process.h"
#include "tests/bench/bench_qmp.h"

namespace chainfs::bench {
namespace {

// A name of its own for each start, so that nothing of an earlier one is in the way.
std::string NewPath(const Programs& programs, std::string_view stem) {
  static int serial = 0;
  return fmt::format("{}/{}-{}", programs.run_dir, stem, ++serial);
}

// An empty regular file to mount on.
std::string NewMountFile(const Programs& programs, std::string_view stem) {
  std::string path = NewPath(programs, stem);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) Fail("cannot make " + path);
  close(fd);
  return path;
}

bool HasContents(const std::string& path) {
  struct stat st = {};
  return stat(path.c_str(), &st) == 0 && st.st_size > 0;
}

bool CanReadFirstBlock(const std::string& path) {
  char block[4096];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = read(fd, block, sizeof(block)) == static_cast<ssize_t>(sizeof(block));
  close(fd);
  return done;
}

class NativeFile : public Contestant {
 public:
  explicit NativeFile(std::string image) : file_(std::move(image)) {}
  std::string_view name() const override { return kNative; }
  const std::string& file() const override { return file_; }

 private:
  const std::string file_;
};

class Passthrough : public Contestant {
 public:
  Passthrough(const Programs& programs, const std::string& image)
      : file_(NewMountFile(programs, kLimit)),
        server_({programs.bin_dir + "/passthrough", image, file_}, file_ + ".log") {
    server_.WaitUntil("the pass-through mount", [&] { return HasContents(file_); });
  }
  std::string_view name() const override { return kLimit; }
  const std::string& file() const override { return file_; }

 private:
  const std::string file_;
  Server server_;
};

class StorageDaemon : public Contestant {
 public:
  StorageDaemon(const Programs& programs, const std::string& image, Use use)
      : file_(NewMountFile(programs, kRival)),
        server_(Arguments(programs, image, use, file_), file_ + ".log") {
    server_.WaitUntil("the rival's export", [&] { return HasContents(file_); });
  }
  std::string_view name() const override { return kRival; }
  const std::string& file() const override { return file_; }
  void Run(const BenchJob& job) override { Qmp(SocketOf(file_)).Run(job, "disk"); }
  uint64_t ResidentBytes() const override { return server_.ResidentBytes(); }

 private:
  static std::string SocketOf(const std::string& file) { return file + ".sock"; }
  static std::vector<std::string> Arguments(const Programs& programs, const std::string& image,
                                            Use use, const std::string& file) {
    return {programs.qsd,
            "--blockdev",
            "driver=file,node-name=file,discard=unmap,filename=" + image,
            "--blockdev",
            "driver=qcow2,node-name=disk,discard=unmap,file=file",
            "--chardev",
            "socket,id=qmp,server=on,wait=off,path=" + SocketOf(file),
            "--monitor",
            "chardev=qmp",
            "--export",
            fmt::format("type=fuse,id=flat,node-name=disk,writable={},mountpoint={}{}",
                        use == Use::kJobs ? "off" : "on", file, programs.qsd_export)};
  }

  const std::string file_;
  Server server_;
};

class Chainfs : public Contestant {
 public:
  Chainfs(const Programs& programs, const std::string& image)
      : mount_(NewPath(programs, kChainfs)),
        file_(mount_ + "/disk.raw"),
        server_(Arguments(programs, image, mount_), mount_ + ".log") {
    server_.WaitUntil("chainfs' mount", [&] { return HasContents(file_); });
  }
  std::string_view name() const override { return kChainfs; }
  const std::string& file() const override { return file_; }
  uint64_t ResidentBytes() const override { return server_.ResidentBytes(); }

  // The command is accepted with the call; the job tells its end through its attribute.
  void Run(const BenchJob& wanted) override {
    const std::string attribute = "user.chainfs." + wanted.verb;
    const std::string value = Arguments(wanted);
    if (setxattr(file_.c_str(), attribute.c_str(), value.data(), value.size(), 0) != 0) {
      Fail(fmt::format("chainfs refused {} {}: {}; {}", wanted.verb, value, std::strerror(errno),
                       Attribute("user.chainfs.error")));
    }
    for (;;) {
      const auto job = nlohmann::json::parse(Attribute("user.chainfs.job"), nullptr, false);
      const std::string status = job.is_object() ? job.value("status", "") : "";
      if (status == "concluded" || status == "null") {
        if (job.contains("error")) Fail("chainfs failed: " + job.dump());
        return;
      }
      usleep(1000);
    }
  }

 private:
  static std::vector<std::string> Arguments(const Programs& programs, const std::string& image,
                                            const std::string& mount) {
    std::filesystem::create_directory(mount);
    const std::string dir = std::filesystem::path(image).parent_path();
    return {programs.bin_dir + "/chainfs",
            "-f",
            "-o",
            "backing_dir=" + dir + programs.chainfs_args,
            "disk=" + image,
            mount};
  }

  static std::string Arguments(const BenchJob& job) {
    if (job.verb == "commit") {
      return (job.moves ? "" : "top=" + job.top + ",") + "base=" + job.base;
    }
    if (job.verb == "mirror") {
      return fmt::format("target={},then={}", job.target, job.moves ? "pivot" : "keep");
    }
    if (job.verb == "backup") return fmt::format("target={}", job.target);
    return "";
  }

  std::string Attribute(const char* name) const {
    char value[65536];
    const ssize_t size = getxattr(file_.c_str(), name, value, sizeof(value));
    return size < 0 ? "" : std::string(value, static_cast<size_t>(size));
  }

  const std::string mount_;
  const std::string file_;
  Server server_;
};

int CountDisks(const std::string& mount) {
  std::error_code error;
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(mount, error)) {
    if (entry.path().extension() == ".raw") ++count;
  }
  return count;
}

}  // namespace

void Contestant::Run(const BenchJob& job) { Fail(fmt::format("{} has no {}", name(), job.verb)); }

uint64_t Contestant::ResidentBytes() const { Fail(fmt::format("{} has no daemon", name())); }

std::unique_ptr<Contestant> StartContestant(const Programs& programs, std::string_view name,
                                            const std::string& image, Use use) {
  if (name == kChainfs) return std::make_unique<Chainfs>(programs, image);
  if (name == kRival) return std::make_unique<StorageDaemon>(programs, image, use);
  if (name == kLimit) return std::make_unique<Passthrough>(programs, image);
  return std::make_unique<NativeFile>(image);
}

double MountSeconds(const Programs& programs, const std::string& dir, int count) {
  const std::string mount = NewPath(programs, kChainfs);
  std::filesystem::create_directory(mount);
  const double start = Now();
  Server server({programs.bin_dir + "/chainfs", "-f", dir, mount}, mount + ".log");
  server.WaitUntil("all disks of the directory", [&] { return CountDisks(mount) >= count; });
  server.WaitUntil("the last disk", [&] {
    return CanReadFirstBlock(fmt::format("{}/disk-{}.raw", mount, count - 1));
  });
  return Now() - start;
}

}  // namespace chainfs::bench
