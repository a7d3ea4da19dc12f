// SPDX-License-Identifier: Apache-2.0
//
// Images whose fields were damaged one by one, hundreds of them: the check finds as many
// corruptions and leaks as qemu-img check, and ends the same; after a repair qemu-img check finds
// nothing, and the disk shows what it showed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/effort.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Bytes = std::string;

struct Shape {
  std::string options;
  std::string size;
  bool compressed = false;
  bool snapshots = false;
};

const std::vector<Shape>& Shapes() {
  static const std::vector<Shape> shapes = {
      {.options = "cluster_size=64k", .size = "64M"},
      {.options = "cluster_size=64k,compat=0.10", .size = "64M"},
      {.options = "cluster_size=4k,refcount_bits=1", .size = "8M"},
      {.options = "cluster_size=512,refcount_bits=64", .size = "1M"},
      {.options = "cluster_size=16k,extended_l2=on", .size = "32M"},
      {.options = "cluster_size=4k,refcount_bits=8", .size = "8M", .compressed = true},
      {.options = "cluster_size=4k", .size = "8M", .snapshots = true},
  };
  return shapes;
}

uint64_t Word(const Bytes& bytes, uint64_t at) {
  return at + 8 <= bytes.size()
             ? LoadBigEndian<uint64_t>(reinterpret_cast<const std::byte*>(bytes.data() + at))
             : 0;
}
void SetWord(Bytes& bytes, uint64_t at, uint64_t value) {
  if (at + 8 > bytes.size()) return;
  StoreBigEndian(reinterpret_cast<std::byte*>(bytes.data() + at), value);
}

struct QemuSays {
  int exit_code = 0;
  uint64_t corruptions = 0;
  uint64_t leaks = 0;
  uint64_t check_errors = 0;
  std::string text;
};

QemuSays QemuCheck(const std::string& path) {
  const CommandResult result =
      RunCommand({"qemu-img", "check", "--output=json", "-f", "qcow2", path});
  QemuSays says;
  says.exit_code = result.exit_code;
  says.text = result.err.substr(0, 2000);
  const nlohmann::json json = nlohmann::json::parse(result.out, nullptr, false);
  if (!json.is_object()) return says;
  says.corruptions = json.value("corruptions", uint64_t{0});
  says.leaks = json.value("leaks", uint64_t{0});
  says.check_errors = json.value("check-errors", uint64_t{0});
  return says;
}

class CheckAgainstQemu : public ::testing::Test {
 protected:
  // A healthy image of that shape, as bytes.
  Bytes Make(const Shape& shape) {
    const std::string path = dir_ / "healthy.qcow2";
    std::filesystem::remove(path);
    const CommandResult made = RunCommand(
        {"qemu-img", "create", "-q", "-f", "qcow2", "-o", shape.options, path, shape.size});
    EXPECT_TRUE(made.ok()) << made.Describe();
    std::vector<std::string> io = {"qemu-io", "-f", "qcow2"};
    for (const std::string command :
         {"write -P 1 0 300k", "write -P 2 512k 100k", "discard 64k 128k", "write -z 520k 8k"}) {
      io.insert(io.end(), {"-c", command});
    }
    if (shape.compressed) {
      io.insert(io.end(), {"-c", "write -c -P 3 800k 4k", "-c", "write -c -P 4 804k 4k"});
    }
    io.push_back(path);
    const CommandResult wrote = RunCommand(io);
    EXPECT_TRUE(wrote.ok()) << wrote.Describe();
    if (shape.snapshots) {
      EXPECT_TRUE(RunCommand({"qemu-img", "snapshot", "-c", "one", path}).ok());
      EXPECT_TRUE(RunCommand({"qemu-io", "-f", "qcow2", "-c", "write -P 9 100k 80k", path}).ok());
    }
    return ReadTextFile(path);
  }

  // Changes one field, knowing what it is.
  std::string Mutate(Bytes& bytes) {
    const auto header = Header(bytes);
    const uint64_t cluster = header.cluster_size();
    const uint64_t entry_bytes = header.geometry().l2().entry_bytes();
    const uint64_t l1 = header.l1_offset.value;
    std::vector<uint64_t> tables;
    for (uint64_t i = 0; i < header.l1_entries; ++i) {
      const uint64_t table = Word(bytes, l1 + i * 8) & qcow2::kEntryOffsetMask;
      if (table != 0) tables.push_back(table);
    }
    if (tables.empty()) return Change(bytes, "L1 entry", l1, cluster);
    const uint64_t table = tables[random_.Below(tables.size())];
    // More often than not one that says something.
    uint64_t entry = table + random_.Below(cluster / entry_bytes) * entry_bytes;
    for (int tries = 0; tries < 20 && Word(bytes, entry) == 0; ++tries) {
      entry = table + random_.Below(cluster / entry_bytes) * entry_bytes;
    }
    const uint64_t reftable = header.refcount_table_offset.value;
    const uint64_t refblock = Word(bytes, reftable) & ~uint64_t{511};
    const uint64_t l1_entry = l1 + random_.Below(header.l1_entries) * 8;
    switch (random_.Below(8)) {
      case 0:
        return Change(bytes, "L1 entry", l1_entry, cluster);
      case 1:
      case 2:
      case 3:
        return Change(bytes, "L2 entry", entry, cluster);
      case 4:
        if (entry_bytes == 16) return Change(bytes, "subclusters", entry + 8, cluster);
        return Change(bytes, "L2 entry", entry, cluster);
      case 5:
        return Change(bytes, "refcount table", reftable, cluster);
      default: {
        const uint64_t at =
            refblock +
            random_.Below(std::min<uint64_t>(
                cluster, bytes.size() / cluster * header.geometry().refcount_bits() / 8 + 1));
        if (at >= cluster && at < bytes.size()) bytes[at] = static_cast<char>(random_.Below(4));
        return fmt::format("refcount byte at {:#x}", at);
      }
    }
  }

  std::string Change(Bytes& bytes, std::string_view what, uint64_t at, uint64_t cluster) {
    const uint64_t old = Word(bytes, at);
    uint64_t value = old;
    switch (random_.Below(7)) {
      case 0:
        value = old ^ (uint64_t{1} << random_.Below(64));
        break;
      case 1:
        value = old ^ qcow2::kEntryCopied;
        break;
      case 2:  // another cluster of the file
        value =
            (old & ~qcow2::kEntryOffsetMask) | random_.Below(bytes.size() / cluster + 2) * cluster;
        break;
      case 3:  // near the end
        value = (old & ~qcow2::kEntryOffsetMask) |
                ((bytes.size() + random_.Below(4 * cluster) - 2 * cluster) & ~uint64_t{511});
        break;
      case 4:
        value = 0;
        break;
      case 5:
        value = old + 512;
        break;
      default:
        value = random_.Next() & (uint64_t{1} << random_.Between(1, 63));
        break;
    }
    SetWord(bytes, at, value);
    return fmt::format("{} at {:#x}: {:#x} -> {:#x}", what, at, old, value);
  }

  qcow2::Qcow2Header Header(const Bytes& bytes) {
    WriteTextFile(dir_ / "header.qcow2", bytes);
    return *qcow2::ReadQcow2Header(*Open("header.qcow2", OpenMode::kReadOnly));
  }
  std::unique_ptr<File> Open(const std::string& name, OpenMode mode) {
    return *(*OpenPosixDirectory(dir_.path()))->Open(name, mode);
  }

  static int ExitCodeOf(const ImageCheckReport& report) {
    if (report.check_errors > 0) return 1;
    if (report.corruptions > report.unseen_by_qemu) return 2;
    return report.leaks > 0 ? 3 : 0;
  }

  // Whether the repair could do all.
  void ExpectRepairable(const std::string& name, const ImageCheckReport& before) {
    const std::string path = dir_ / name;
    const std::string copy = dir_ / "before.qcow2";
    std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
    ImageCheckControl control;
    control.repair = ImageRepair::kAll;
    const auto repaired = CheckQcow2(*Open(name, OpenMode::kReadWrite), control);
    ASSERT_TRUE(repaired) << repaired.error().message;
    const QemuSays after = QemuCheck(path);
    // What it says of itself is true.
    EXPECT_EQ(after.corruptions, repaired->corruptions - repaired->unseen_by_qemu) << after.text;
    EXPECT_EQ(after.leaks, repaired->leaks) << after.text;
    const bool plain = before.bad_entries == 0 && repaired->overlaps == 0;
    if (plain && RunCommand({"qemu-img", "check", "-q", "-r", "all", "-f", "qcow2", copy}).ok()) {
      EXPECT_EQ(after.exit_code, 0) << after.text;
      ++as_qemu_;
      const CommandResult same =
          RunCommand({"qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", copy, path});
      EXPECT_NE(same.exit_code, 1) << same.Describe();
      return;
    }
    if (repaired->corruptions == 0) {
      EXPECT_EQ(after.exit_code, repaired->leaks > 0 ? 3 : 0) << after.text;
    }
    // Tables that are data, too, change what the disk shows when they are mended.
    if (repaired->overlaps > 0) return;
    const CommandResult same =
        RunCommand({"qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", copy, path});
    // More than 1: neither can be read.
    EXPECT_NE(same.exit_code, 1) << same.Describe();
    if (same.exit_code == 0) ++compared_;
  }

  TempDir dir_;
  Random random_;
  uint64_t compared_ = 0;
  uint64_t as_qemu_ = 0;
};

TEST_F(CheckAgainstQemu, FindsTheSameInDamagedImages) {
  const uint64_t seed = TestSeed();
  for (const Shape& shape : Shapes()) {
    const Bytes healthy = Make(shape);
    for (int round = 0; round < Effort(40); ++round) {
      Bytes bytes = healthy;
      std::string changes;
      for (uint64_t n = random_.Between(1, 3); n > 0; --n) changes += Mutate(bytes) + "; ";
      SCOPED_TRACE(fmt::format("seed {}, {}, round {}: {}", seed, shape.options, round, changes));
      WriteTextFile(dir_ / "image.qcow2", bytes);
      const QemuSays qemu = QemuCheck(dir_ / "image.qcow2");
      const auto ours = CheckQcow2(*Open("image.qcow2", OpenMode::kReadOnly));
      ASSERT_TRUE(ours) << ours.error().message;
      std::string found;
      for (const std::string& line : ours->messages) found += line + "\n";
      EXPECT_EQ(qemu.corruptions, ours->corruptions - ours->unseen_by_qemu) << qemu.text << "--\n"
                                                                            << found;
      EXPECT_EQ(qemu.leaks, ours->leaks) << qemu.text << "--\n" << found;
      EXPECT_EQ(qemu.check_errors, ours->check_errors) << qemu.text;
      EXPECT_EQ(qemu.exit_code, ExitCodeOf(*ours));
      if (HasFailure()) return;
      ExpectRepairable("image.qcow2", *ours);
      if (HasFailure()) return;
    }
  }
  std::cout << "repaired as QEMU does: " << as_qemu_ << ", other comparisons: " << compared_
            << "\n";
  // Most damage can be repaired, and the contents be compared.
  EXPECT_GT(as_qemu_, Shapes().size() * Effort(40U) / 8);
  EXPECT_GT(compared_, Shapes().size() * Effort(40U) / 8);
}

}  // namespace
}  // namespace chainfs
