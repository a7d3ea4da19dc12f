// SPDX-License-Identifier: Apache-2.0
//
// For tests of the formats that chainfs only reads: images that qemu-img makes, read through their
// row of the registry, and what qemu-img reads in the same file.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs {

class ForeignImages : public testing::Test {
 protected:
  using Bytes = std::vector<std::byte>;
  static constexpr uint64_t kMostRead = 64 << 20;

  // A disk of `size` bytes with data here and there, zeros that were written, and holes.
  void MakeRaw(const std::string& name, uint64_t size) {
    WriteTextFile(dir_ / name, "");
    ASSERT_EQ(truncate((dir_ / name).c_str(), static_cast<off_t>(size)), 0);
    std::fstream file(dir_ / name, std::ios::in | std::ios::out | std::ios::binary);
    for (int i = 0; i < 24 && size > 0; ++i) {
      const uint64_t at = i == 0 ? 0 : random_.Below(size) / 512 * 512;
      std::vector<char> data(std::min(size - at, 512 * random_.Between(1, 400)));
      if (i % 5 != 4) random_.Fill(std::as_writable_bytes(std::span(data)));
      // Some of it is worth compressing.
      if (i % 2 == 0)
        std::fill(data.begin() + static_cast<int64_t>(data.size() / 3), data.end(), 'x');
      file.seekp(static_cast<std::streamoff>(at));
      file.write(data.data(), static_cast<std::streamsize>(data.size()));
    }
    // The last sector is not forgotten.
    if (size > 0) {
      file.seekp(static_cast<std::streamoff>(size - 1));
      file.write("e", 1);
    }
  }

  void Convert(const std::string& from, const std::string& to, const std::string& format,
               const std::string& options = "") {
    std::vector<std::string> command = {"qemu-img", "convert", "-f", "raw", "-O", format};
    if (!options.empty()) command.insert(command.end(), {"-o", options});
    command.insert(command.end(), {dir_ / from, dir_ / to});
    const CommandResult result = RunCommand(command);
    ASSERT_TRUE(result.ok()) << result.Describe();
  }

  Result<std::unique_ptr<Image>> Open(const std::string& format, const std::string& name) {
    const FormatRow* const row = FormatRegistry::BuiltIn().FindByName(format);
    CHAINFS_ASSIGN(std::unique_ptr<File> file, directory_->Open(name, OpenMode::kReadOnly));
    return row->open(std::move(file), cache_,
                     {.read_only = true,
                      .owner = cache_.NewOwner(),
                      .unrepaired = {},
                      .open_beside = [this](const std::string& beside) {
                        return directory_->Open(beside, OpenMode::kReadOnly);
                      }});
  }

  // The whole disk, as mapped extent by extent.
  Result<Bytes> ReadAll(Image& image, MapDetail detail = MapDetail::kFast) {
    Bytes out(image.virtual_size());
    for (uint64_t at = 0; at < out.size();) {
      CHAINFS_ASSIGN(const Extent extent, image.Map(GuestOffset(at), out.size() - at, detail));
      if (extent.length == 0 || extent.length > out.size() - at) {
        return Fail(ErrorKind::kCorrupt, "an extent of impossible length");
      }
      const std::span<std::byte> part = std::span(out).subspan(at, extent.length);
      if (extent.kind == ExtentKind::kData) {
        CHAINFS_TRY(image.source(extent.source).ReadZeroFilled(extent.host, part));
      } else if (extent.kind == ExtentKind::kCompressed) {
        Bytes cluster(image.cluster_size());
        CHAINFS_TRY(image.ReadCompressed(extent, cluster));
        std::memcpy(part.data(), &cluster[at % cluster.size()], part.size());
      }
      at += extent.length;
    }
    return out;
  }

  // What qemu-img reads; nothing where it refuses.
  std::optional<Bytes> ReadByQemu(const std::string& format, const std::string& name) {
    const CommandResult result = RunCommand(
        {"qemu-img", "convert", "-f", format, "-O", "raw", dir_ / name, dir_ / "qemu.raw"});
    if (!result.ok()) return std::nullopt;
    return BytesOf("qemu.raw");
  }
  Bytes BytesOf(const std::string& name) {
    const std::string text = ReadTextFile(dir_ / name);
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }
  void Put(const std::string& name, std::span<const std::byte> bytes) {
    WriteTextFile(dir_ / name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  // The image reads as qemu-img reads it, both ways of mapping.
  void ExpectLikeQemu(const std::string& format, const std::string& name) {
    SCOPED_TRACE(format + " " + name);
    const auto image = Open(format, name);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ((*image)->format().name(), format);
    EXPECT_EQ((*image)->writer(), nullptr);
    const std::optional<Bytes> expected = ReadByQemu(format, name);
    ASSERT_TRUE(expected);
    ASSERT_EQ((*image)->virtual_size(), expected->size());
    for (const MapDetail detail : {MapDetail::kFast, MapDetail::kPrecise}) {
      const Result<Bytes> read = ReadAll(**image, detail);
      ASSERT_TRUE(read) << read.error().message;
      EXPECT_TRUE(*read == *expected) << "differs";
    }
    EXPECT_EQ(
        (*image)->Map(GuestOffset((*image)->virtual_size()), 1, MapDetail::kFast).error().kind,
        ErrorKind::kInvalidArgument);
  }

  // A part of a file that Mutate writes to.
  struct Area {
    uint64_t offset = 0;
    uint64_t length = 0;  // bytes, at least 8
  };
  // Puts values that hurt where the areas are, `rounds` times, `mend` afterwards (checksums); what
  // opens and reads must read as qemu-img reads it, if that does.
  void MutateAndCompare(const std::string& format, const std::string& name,
                        const std::vector<Area>& areas, int rounds,
                        const std::function<void(Bytes&)>& mend = nullptr) {
    const Bytes sound = BytesOf(name);
    const std::string changed = "mutated";
    int equal = 0;
    int by_qemu_alone = 0;
    int refused = 0;
    for (int round = 0; round < rounds; ++round) {
      Bytes bytes = sound;
      std::string what;
      for (uint64_t i = random_.Between(1, 2); i > 0; --i) what += MutateOne(bytes, areas);
      if (mend && !random_.OneIn(8)) mend(bytes);
      SCOPED_TRACE(format + what);
      Put(changed, bytes);
      const auto image = Open(format, changed);
      if (!image) {
        EXPECT_FALSE(image.error().message.empty());
        ++refused;
        continue;
      }
      if ((*image)->virtual_size() > kMostRead) continue;
      const Result<Bytes> read = ReadAll(**image);
      if (!read) {
        ++refused;
        continue;
      }
      const std::optional<Bytes> expected = ReadByQemu(format, changed);
      // It also judges entries of tables that the disk does not use.
      if (!expected) {
        ++by_qemu_alone;
        continue;
      }
      ++equal;
      ASSERT_TRUE(*read == *expected) << read->size() << " bytes, not " << expected->size();
    }
    std::cout << format << ": " << equal << " equal, " << refused << " refused, " << by_qemu_alone
              << " refused by qemu-img alone\n";
    EXPECT_GT(equal, by_qemu_alone);
    EXPECT_GT(refused, 0);
  }

  std::string MutateOne(Bytes& bytes, const std::vector<Area>& areas) {
    const Area& area = areas[random_.Below(areas.size())];
    const uint64_t width = random_.OneIn(4) ? 1 : random_.OneIn(3) ? 8 : 4;
    const uint64_t at = area.offset + random_.Below(area.length / width) * width;
    uint64_t value = 0;
    std::memcpy(&value, &bytes[at], width);
    switch (random_.Below(6)) {
      case 0:
        value = 0;
        break;
      case 1:
        value = UINT64_MAX - random_.Below(3);
        break;
      case 2:
        value ^= uint64_t{1} << random_.Below(width * 8);
        break;
      case 3:
        value += random_.Between(1, 3);
        break;
      case 4:
        value = uint64_t{1} << random_.Below(64);
        break;
      default:
        value = random_.Next();
    }
    std::memcpy(&bytes[at], &value, width);
    return " " + std::to_string(at) + "=" + std::to_string(value);
  }

  TempDir dir_;
  MetadataCache cache_{4 << 20};
  std::unique_ptr<Directory> directory_ = OpenPosixDirectory(dir_.path()).value();
  Random random_;
};

}  // namespace chainfs
