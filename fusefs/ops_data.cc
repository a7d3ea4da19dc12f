// SPDX-License-Identifier: Apache-2.0
//
// Reads and writes of disks and of virtual files. Data is copied once, into or out of a buffer that
// belongs to the serving thread; splicing was measured slower.
//
// A disk has a fixed size, like a block device: a write that passes its end writes what fits, one
// that begins there fails with ENOSPC.
//
// fallocate: punching and zeroing work on any range. Mode 0 would promise that later writes cannot
// run out of space, which a chain cannot keep, so within the size it is refused (posix_fallocate
// then writes by itself); past the end it means growing.
#include "fusefs/ops_data.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>

#include "ctl/control/errno_map.h"
#include "fusefs/fuse_ops.h"
#include "fusefs/handles.h"

namespace chainfs::fusefs {
namespace {

// How long a seek may look at tables: the kernel keeps others from the file meanwhile, and nobody
// can interrupt it.
constexpr std::chrono::milliseconds kSeekTime(50);

// One a thread: a thread serves one request at a time, and no request is larger.
std::byte* ThreadBuffer() {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<std::byte, Free> buffer;
  if (buffer == nullptr) {
    buffer.reset(static_cast<std::byte*>(std::aligned_alloc(4096, kMaxTransfer)));
    if (buffer == nullptr) throw std::bad_alloc();
  }
  return buffer.get();
}

// The errno of a failed disk operation, counted and remembered.
int Failed(MountContext& mount, OpenFile& file, std::string_view operation, const Error& error) {
  if (error.kind == ErrorKind::kCancelled) return EINTR;
  file.node->disk->load().errors.fetch_add(1, std::memory_order_relaxed);
  return mount.control.errors.OperationFailed(*file.node->served, operation, error);
}

// A read or write of a program that the page cache has no part in, see page_cache.h.
bool IsDirect(const fuse_file_info& info) { return info.lock_owner != 0; }

int ReadDisk(MountContext& mount, fuse_req_t req, OpenFile& file, size_t size, off_t offset,
             const fuse_file_info& info) {
  if (!IsDirect(info)) file.node->pages.Filled();
  const std::span<std::byte> out(ThreadBuffer(), size);
  const Result<size_t> got = file.node->disk->Read(GuestOffset(static_cast<uint64_t>(offset)), out);
  if (!got) return Failed(mount, file, "read", got.error());
  fuse_reply_buf(req, reinterpret_cast<const char*>(out.data()), *got);
  return kReplied;
}

int Read(MountContext& mount, fuse_req_t req, size_t size, off_t offset,
         const fuse_file_info& info) {
  OpenFile& file = OpenFiles::At(info.fh);
  size = std::min(size, kMaxTransfer);
  if (file.node->kind == NodeKind::kDisk) return ReadDisk(mount, req, file, size, offset, info);
  if (file.reader != nullptr) {
    return mount.events.Read(req, file.reader.get(), size, (info.flags & O_NONBLOCK) != 0);
  }
  const Result<std::string> text = file.stream->Read(static_cast<uint64_t>(offset), size);
  if (!text) return control::ErrnoOf(text.error());
  fuse_reply_buf(req, text->data(), text->size());
  return kReplied;
}

int FlushDisk(MountContext& mount, OpenFile& file) {
  const Status flushed = file.node->disk->Flush();
  return flushed ? 0 : Failed(mount, file, "flush", flushed.error());
}

int Write(MountContext& mount, fuse_req_t req, const char* bytes, size_t size, off_t offset,
          const fuse_file_info& info) {
  OpenFile& file = OpenFiles::At(info.fh);
  Disk& disk = *file.node->disk;
  const auto start = static_cast<uint64_t>(offset);
  const uint64_t end = disk.size();
  if (size == 0) {
    fuse_reply_write(req, 0);
    return kReplied;
  }
  if (start >= end) {
    return mount.control.errors.OperationRefused(
        file.node->served.get(), "write", ENOSPC,
        fmt::format("a write at {} begins past the end of {}, at {} bytes; "
                    "truncate -s grows it",
                    start, disk.name(), end));
  }
  size = std::min<uint64_t>(size, end - start);
  if (!IsDirect(info)) file.node->pages.Filled();
  const Status written = disk.Write(GuestOffset(start), std::as_bytes(std::span(bytes, size)));
  int error = written ? 0 : Failed(mount, file, "write", written.error());
  // O_SYNC includes O_DSYNC; the kernel leaves both to us, also when they come with one write only.
  if (error == 0 && (info.flags & O_DSYNC) != 0) error = FlushDisk(mount, file);
  // A write that failed may have changed a part.
  if (IsDirect(info) && file.node->pages.MayHoldPages()) {
    mount.fence.Answer(req, file.node, {.offset = offset, .size = size, .error = error});
    return kReplied;
  }
  if (error != 0) return error;
  fuse_reply_write(req, size);
  return kReplied;
}

// close(): nothing is written here, durability belongs to fsync; but a disk that has failed says so
// once more.
int Flush(MountContext& mount, const OpenFile& file) {
  if (file.node->kind != NodeKind::kDisk || !file.writes) return 0;
  const Disk& disk = *file.node->disk;
  if (!disk.failed()) return 0;
  return mount.control.errors.OperationRefused(
      file.node->served.get(), "close", EIO,
      fmt::format("{}: an earlier flush failed, so its contents are not certain; "
                  "unmount, check the image and mount again",
                  disk.chain()->active->path));
}

int Allocate(MountContext& mount, fuse_req_t req, OpenFile& file, int mode, off_t offset,
             off_t length) {
  Disk& disk = *file.node->disk;
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const bool zeroes =
      mode == FALLOC_FL_ZERO_RANGE || mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
  if (mode != kPunch && !zeroes && mode != 0) return EOPNOTSUPP;
  if (disk.read_only()) {
    return mount.control.errors.ChangeRefused(*file.node->served, "fallocate");
  }
  const auto start = static_cast<uint64_t>(offset);
  const uint64_t end = start + static_cast<uint64_t>(length);
  const bool grows = (mode & FALLOC_FL_KEEP_SIZE) == 0 && end > disk.size();
  if (mode == 0 && !grows) return EOPNOTSUPP;
  // Terabytes take a while: whoever asked can be killed, and is told of any other signal, too.
  const auto interrupted = [req] { return fuse_req_interrupted(req) != 0; };
  if (grows) {
    if (end > INT64_MAX - 512) {
      return mount.control.errors.OperationRefused(
          file.node->served.get(), "fallocate", EFBIG,
          fmt::format("{} cannot become as large as that", disk.name()));
    }
    if (const Status grown = disk.Grow(RoundUp(end, 512), interrupted); !grown) {
      return Failed(mount, file, "fallocate", grown.error());
    }
    if (mode == 0) return 0;
  }
  const uint64_t stop = std::min(end, disk.size());
  if (start >= stop) return 0;
  const Status zeroed = disk.WriteZeroes(GuestOffset(start), stop - start, zeroes, interrupted);
  if (zeroed) return 0;
  // The kernel drops the pages of the range itself, but not when this has failed half-way.
  const int error = Failed(mount, file, "fallocate", zeroed.error());
  if (!file.node->pages.MayHoldPages()) return error;
  mount.fence.Answer(req, file.node, {.offset = offset, .size = stop - start, .error = error});
  return kReplied;
}

int Seek(MountContext& mount, fuse_req_t req, OpenFile& file, off_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return EINVAL;
  const Disk& disk = *file.node->disk;
  const uint64_t size = disk.size();
  auto position = static_cast<uint64_t>(offset);
  if (position >= size) return ENXIO;
  const auto deadline = std::chrono::steady_clock::now() + kSeekTime;
  while (position < size) {
    // "Data here" is always a legal answer; for a hole, the one at the end of the file is.
    if (std::chrono::steady_clock::now() > deadline) {
      if (whence == SEEK_HOLE) position = size;
      break;
    }
    const Result<StackExtent> extent =
        disk.Map(GuestOffset(position), size - position, MapDetail::kPrecise);
    if (!extent) return Failed(mount, file, "seek", extent.error());
    // The disk has got shorter.
    const bool nothing = extent->length == 0;
    if (nothing && (whence == SEEK_DATA || position == static_cast<uint64_t>(offset))) return ENXIO;
    const bool data = extent->kind == ExtentKind::kData || extent->kind == ExtentKind::kCompressed;
    if (data == (whence == SEEK_DATA)) break;
    position += extent->length;
  }
  if (position >= size && whence == SEEK_DATA) return ENXIO;
  fuse_reply_lseek(req, static_cast<off_t>(std::min(position, size)));
  return kReplied;
}

int Poll(MountContext& mount, fuse_req_t req, const OpenFile& file, fuse_pollhandle* handle) {
  unsigned ready = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
  if (file.reader != nullptr) {
    ready = mount.events.Poll(file.reader.get(), handle);
  } else if (handle != nullptr) {
    fuse_pollhandle_destroy(handle);
  }
  fuse_reply_poll(req, ready);
  return kReplied;
}

}  // namespace

void AddDataOps(fuse_lowlevel_ops* ops) {
  ops->read = [](fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
    Serve(req, "read", [&](MountContext& mount) { return Read(mount, req, size, offset, *info); });
  };
  // Only disks can be open for writing, so these need not ask what the file is.
  ops->write = [](fuse_req_t req, fuse_ino_t, const char* bytes, size_t size, off_t offset,
                  fuse_file_info* info) {
    Serve(req, "write",
          [&](MountContext& mount) { return Write(mount, req, bytes, size, offset, *info); });
  };
  ops->fallocate = [](fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t length,
                      fuse_file_info* info) {
    Serve(req, "fallocate", [&](MountContext& mount) {
      return Allocate(mount, req, OpenFiles::At(info->fh), mode, offset, length);
    });
  };
  ops->flush = [](fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
    Serve(req, "flush", [&](MountContext& mount) { return Flush(mount, OpenFiles::At(info->fh)); });
  };
  ops->fsync = [](fuse_req_t req, fuse_ino_t, int, fuse_file_info* info) {
    Serve(req, "fsync", [&](MountContext& mount) {
      OpenFile& file = OpenFiles::At(info->fh);
      return file.node->kind == NodeKind::kDisk ? FlushDisk(mount, file) : 0;
    });
  };
  ops->lseek = [](fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) {
    Serve(req, "lseek", [&](MountContext& mount) {
      OpenFile& file = OpenFiles::At(info->fh);
      return file.node->kind == NodeKind::kDisk ? Seek(mount, req, file, offset, whence) : EINVAL;
    });
  };
  ops->poll = [](fuse_req_t req, fuse_ino_t, fuse_file_info* info, fuse_pollhandle* handle) {
    Serve(req, "poll",
          [&](MountContext& mount) { return Poll(mount, req, OpenFiles::At(info->fh), handle); });
  };
}

}  // namespace chainfs::fusefs
