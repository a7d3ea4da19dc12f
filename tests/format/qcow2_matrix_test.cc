// SPDX-License-Identifier: Apache-2.0
//
// Images over the matrix of qemu-img's options, read and written both ways: what qemu wrote, we
// read as qemu reads it; what we wrote on top, `qemu-img check` finds clean and qemu reads as we
// meant it.
#include <gtest/gtest.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/effort.h"
#include "tests/support/image_model.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

struct Case {
  const char* name;
  const char* options;  // of qemu-img create -o
  bool compressed = false;
  bool backing = false;
  const char* data_file = nullptr;  // its name in the directory
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

constexpr uint64_t kSize = 6 * 1024 * 1024 + 512 * 3;

std::vector<std::byte> ReadBytes(const std::string& path) {
  const std::string text = ReadTextFile(path);
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

class Qcow2Matrix : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto opened = OpenPosixDirectory(dir_.path());
    ASSERT_TRUE(opened) << opened.error().message;
    directory_ = *std::move(opened);
  }

  void Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_.path()});
    ASSERT_TRUE(result.ok()) << result.Describe();
  }

  // Patterns all over the image, by qemu-io.
  void QemuWrites(const std::string& image, bool compressed, uint64_t cluster) {
    std::vector<std::string> command = {"qemu-io", "-f", "qcow2", image};
    const auto add = [&](const std::string& text) {
      command.emplace_back("-c");
      command.push_back(text);
    };
    for (int i = 0; i < 12; ++i) {
      // Compressed writes go only to clusters that were never allocated: the last part is for them.
      const uint64_t end = compressed ? kCompressedFrom : kSize;
      const uint64_t at = random_.Below(end / 512) * 512;
      const uint64_t length = std::min(end - at, (1 + random_.Below(300)) * 512);
      add("write -P " + std::to_string(1 + random_.Below(255)) + " " + std::to_string(at) + " " +
          std::to_string(length));
    }
    if (compressed) {
      for (int i = 0; i < 8; ++i) {
        const uint64_t at = kCompressedFrom + static_cast<uint64_t>(i) * cluster;
        if (at + cluster > kSize) break;
        add("write -c -P " + std::to_string(65 + i) + " " + std::to_string(at) + " " +
            std::to_string(cluster));
      }
    }
    add("write -z 1048576 393216");
    add("write -z -u 2097152 200704");
    add("discard 3145728 262144");
    Run(command);
  }

  std::unique_ptr<WritableImage> Open(const std::string& name) {
    auto file = directory_->Open(name, OpenMode::kReadWrite);
    EXPECT_TRUE(file) << file.error().message;
    if (!file) return nullptr;
    ImageOpenOptions options{.owner = cache_.NewOwner()};
    options.open_data_file = [&](const std::string& data) {
      return directory_->Open(data.substr(data.rfind('/') + 1), OpenMode::kReadWrite);
    };
    auto image = OpenQcow2Image(*std::move(file), cache_, options);
    EXPECT_TRUE(image) << image.error().message;
    return image ? *std::move(image) : nullptr;
  }

  static constexpr uint64_t kCompressedFrom = 4ull << 20;

  const TempDir dir_;
  std::unique_ptr<Directory> directory_;
  Random random_;
  MetadataCache cache_{1 << 20};
};

TEST_P(Qcow2Matrix, ReadsWhatQemuWroteAndQemuReadsWhatWeWrote) {
  const Case& c = GetParam();
  std::unique_ptr<BufferBelow> below;
  std::string options = c.options;
  if (c.data_file != nullptr) options += ",data_file=" + (dir_ / c.data_file);
  const bool raw = options.contains("data_file_raw=on");
  if (c.backing) {
    // Longer than the overlay, with data beyond its end.
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", "7M"});
    Run({"qemu-io", "-f", "qcow2", "base.qcow2", "-c", "write -P 7 0 3M", "-c",
         "write -P 8 5M 2M"});
    Run({"qemu-img", "convert", "-O", "raw", "base.qcow2", "base.raw"});
    below = std::make_unique<BufferBelow>(ReadBytes(dir_ / "base.raw"));
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "base.qcow2", "-F",
         "qcow2", "a.qcow2", std::to_string(kSize)});
  } else {
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "a.qcow2",
         std::to_string(kSize)});
  }
  uint64_t cluster = 0;
  {
    const std::unique_ptr<WritableImage> image = Open("a.qcow2");
    ASSERT_NE(image, nullptr);
    cluster = image->cluster_size();
  }
  QemuWrites("a.qcow2", c.compressed, cluster);
  Run({"qemu-img", "convert", "-O", "raw", "a.qcow2", "before.raw"});

  std::unique_ptr<WritableImage> image = Open("a.qcow2");
  ASSERT_NE(image, nullptr);
  ASSERT_TRUE(image->writable()) << image->read_only_reason();
  ImageModel model(*image, below.get(), ReadBytes(dir_ / "before.raw"));
  ASSERT_EQ(model.Verify(), "");

  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < Effort(80); ++i) {
      const Status done = model.RandomOperation(random_, std::max<uint64_t>(cluster, 16384));
      ASSERT_TRUE(done) << done.error().message;
      if (i % 16 == 0) {
        ASSERT_EQ(model.Verify(), "") << "operation " << i;
      }
    }
    ASSERT_EQ(model.Verify(), "");
    // A flush is enough for qemu to see everything; leaks may remain until the close.
    ASSERT_TRUE(image->Flush());
    const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", dir_ / "a.qcow2"});
    ASSERT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
    if (round == 1) {
      image.reset();  // as a crash of the process after the flush
    } else {
      const Status closed = image->Close();
      ASSERT_TRUE(closed) << closed.error().message;
      image.reset();
      const auto file = directory_->Open("a.qcow2", OpenMode::kReadOnly);
      ASSERT_TRUE(file);
      const auto report = CheckQcow2(**file);
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
      if (round == 0) {
        EXPECT_EQ(report->leaks, 0u);
        Run({"qemu-img", "check", "-f", "qcow2", "a.qcow2"});
      }
    }
    Run({"qemu-img", "convert", "-O", "raw", "a.qcow2", "after.raw"});
    EXPECT_EQ(Difference(model.expected(), ReadBytes(dir_ / "after.raw")), "");
    if (raw) {
      // qemu-img makes whole clusters of it.
      std::vector<std::byte> data = ReadBytes(dir_ / c.data_file);
      data.resize(kSize);
      EXPECT_EQ(Difference(model.expected(), data), "");
    }
    image = Open("a.qcow2");
    ASSERT_NE(image, nullptr);
    model.Reopened(*image);
    ASSERT_EQ(model.Verify(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, Qcow2Matrix,
    ::testing::Values(
        Case{"v2", "compat=0.10"}, Case{"v2_512", "compat=0.10,cluster_size=512"},
        Case{"v2_2M", "compat=0.10,cluster_size=2M"},
        Case{"v2_backing", "compat=0.10", false, true},
        Case{"v2_compressed_backing", "compat=0.10,cluster_size=4k", true, true},
        Case{"v3", "compat=1.1"}, Case{"v3_512", "cluster_size=512"},
        Case{"v3_1K", "cluster_size=1k"}, Case{"v3_2K", "cluster_size=2k"},
        Case{"v3_4K", "cluster_size=4k"}, Case{"v3_8K", "cluster_size=8k"},
        Case{"v3_32K", "cluster_size=32k"}, Case{"v3_256K", "cluster_size=256k"},
        Case{"v3_2M", "cluster_size=2M"}, Case{"v3_2M_backing", "cluster_size=2M", false, true},
        Case{"v3_backing", "compat=1.1", false, true},
        Case{"v3_512_backing", "cluster_size=512", false, true},
        Case{"refcount_1", "refcount_bits=1"}, Case{"refcount_2", "refcount_bits=2"},
        Case{"refcount_4", "refcount_bits=4,cluster_size=4k"},
        Case{"refcount_8_512", "refcount_bits=8,cluster_size=512"},
        Case{"refcount_32", "refcount_bits=32", false, true},
        Case{"refcount_64_512", "refcount_bits=64,cluster_size=512"},
        Case{"refcount_64", "refcount_bits=64"},
        Case{"refcount_1_512_backing", "refcount_bits=1,cluster_size=512", false, true},
        Case{"lazy", "lazy_refcounts=on"}, Case{"lazy_backing", "lazy_refcounts=on", false, true},
        Case{"zlib", "cluster_size=64k", true}, Case{"zlib_4k", "cluster_size=4k", true, true},
        Case{"zlib_2M", "cluster_size=1M", true}, Case{"zstd", "compression_type=zstd", true},
        Case{"zstd_4k", "compression_type=zstd,cluster_size=4k", true, true},
        Case{"prealloc_metadata", "preallocation=metadata"},
        Case{"prealloc_falloc", "preallocation=falloc,cluster_size=16k"},
        Case{"extended", "extended_l2=on"}, Case{"extended_16K", "extended_l2=on,cluster_size=16k"},
        Case{"extended_backing", "extended_l2=on", false, true},
        Case{"extended_16K_backing", "extended_l2=on,cluster_size=16k", false, true},
        Case{"extended_2M_backing", "extended_l2=on,cluster_size=2M", false, true},
        Case{"extended_zlib", "extended_l2=on,cluster_size=32k", true},
        Case{"extended_zstd", "extended_l2=on,compression_type=zstd,cluster_size=16k", true, true},
        Case{"extended_metadata", "extended_l2=on,preallocation=metadata,cluster_size=32k"},
        Case{"extended_falloc", "extended_l2=on,preallocation=falloc"},
        Case{"data_file", "compat=1.1", false, false, "d.raw"},
        Case{"data_file_512_backing", "cluster_size=512", false, true, "d.raw"},
        Case{"data_file_2M_backing", "cluster_size=2M", false, true, "d.raw"},
        Case{"data_file_extended_backing", "extended_l2=on", false, true, "d.raw"},
        Case{"data_file_raw", "data_file_raw=on", false, false, "d.raw"},
        Case{"data_file_raw_4K", "data_file_raw=on,cluster_size=4k", false, false, "d.raw"},
        Case{"data_file_raw_extended", "data_file_raw=on,extended_l2=on", false, false, "d.raw"}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
