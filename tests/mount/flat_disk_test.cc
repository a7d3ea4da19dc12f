// SPDX-License-Identifier: Apache-2.0
//
// Every flat disk is what qemu-img says that its image contains, whatever the image is made of;
// names, read-only backing images, broken images, images that come and go.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

std::set<std::string> NamesIn(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename());
  return names;
}

mode_t ModeOf(const std::string& path) {
  struct stat st = {};
  return ::stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Images whose flat contents are kept beside them before chainfs sees any.
class Collection {
 public:
  std::string path() const { return images_; }
  std::string operator/(const std::string& name) const { return images_ + "/" + name; }

  // `name` is the image's file name, complete by now.
  void Keep(const std::string& name, const std::string& format) {
    const std::string stem = name.substr(0, name.rfind('.'));
    Flatten(*this / name, format, flat_ + "/" + stem);
    expected_[stem] = flat_ + "/" + stem;
  }

  void ExpectAllShown(const Daemon& daemon) const {
    std::set<std::string> names;
    for (const auto& [stem, flat] : expected_) {
      names.insert(stem + ".raw");
      EXPECT_TRUE(SameContents(daemon / (stem + ".raw"), flat));
      struct stat st = {};
      EXPECT_EQ(::stat((daemon / (stem + ".raw")).c_str(), &st), 0);
      EXPECT_EQ(static_cast<uint64_t>(st.st_size), fs::file_size(flat)) << stem;
    }
    EXPECT_EQ(NamesIn(daemon.path()), names);
  }

 private:
  static std::string Made(const std::string& path) {
    fs::create_directory(path);
    return path;
  }
  const TempDir dir_;
  const std::string images_ = Made(dir_ / "images");
  const std::string flat_ = Made(dir_ / "flat");
  std::map<std::string, std::string> expected_;
};

TEST(FlatDiskTest, EveryKindOfImage) {
  Random random;
  Collection images;
  WriteRandomFile(images / "plain.raw", 3 << 20, random);
  images.Keep("plain.raw", "raw");
  WriteRandomFile(images / "disk.img", 5 * 512, random);
  images.Keep("disk.img", "raw");
  int number = 0;
  for (const std::string options :
       {"compat=0.10", "compat=0.10,cluster_size=512", "compat=1.1",
        "compat=1.1,cluster_size=512,refcount_bits=1", "compat=1.1,cluster_size=4k,refcount_bits=8",
        "compat=1.1,cluster_size=2M,refcount_bits=64", "compat=1.1,lazy_refcounts=on",
        "compat=1.1,compression_type=zstd", "extended_l2=on",
        "extended_l2=on,cluster_size=16k,compression_type=zstd"}) {
    const std::string name = "kind" + std::to_string(number++) + ".qcow2";
    const uint64_t size = 512 * (4000 + random.Below(4000));
    CreateQcow2(images / name, {.size = std::to_string(size), .options = options});
    QemuIo(images / name, "qcow2", RandomWrites(random, size, 12));
    images.Keep(name, "qcow2");
  }
  const Daemon daemon({images.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  images.ExpectAllShown(daemon);
}

TEST(FlatDiskTest, CompressedImages) {
  Random random;
  Collection images;
  std::string text(3 << 20, '\0');
  for (size_t at = 0; at < text.size(); at += 40000) {
    text.replace(at, 100, std::string(100, static_cast<char>(random.Below(256))));
  }
  WriteTextFile(images / "source.raw", text);
  images.Keep("source.raw", "raw");
  for (const std::string type : {"zlib", "zstd"}) {
    for (const std::string cluster : {"512", "64k", "2M"}) {
      const std::string name = type + cluster + ".qcow2";
      MustRun({"qemu-img", "convert", "-c", "-O", "qcow2", "-o",
               "compression_type=" + type + ",cluster_size=" + cluster, images / "source.raw",
               images / name});
      images.Keep(name, "qcow2");
      const std::string overlay = type + cluster + "-overlay.qcow2";
      CreateQcow2(images / overlay, {.backing = name});
      QemuIo(images / overlay, "qcow2", RandomWrites(random, 3 << 20, 3));
      images.Keep(overlay, "qcow2");
    }
  }
  const Daemon daemon({images.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  images.ExpectAllShown(daemon);
}

TEST(FlatDiskTest, ChainsOfOneToEightLayers) {
  Random random;
  Collection images;
  const std::array<const char*, 5> kinds = {"cluster_size=64k", "cluster_size=4k",
                                            "extended_l2=on,cluster_size=32k", "cluster_size=512",
                                            "compat=0.10,cluster_size=128k"};
  for (int depth = 1; depth <= 8; ++depth) {
    std::string below;
    for (int layer = 0; layer < depth; ++layer) {
      // Shorter and longer than what it is built on, and no multiple of its clusters.
      const uint64_t size = 512 * (1500 + random.Below(3000));
      const std::string stem =
          "d" + std::to_string(depth) + (layer + 1 < depth ? "." + std::to_string(layer) : "");
      const bool raw = layer == 0 && depth % 3 == 0;
      const std::string name = stem + (raw ? ".raw" : ".qcow2");
      if (raw) {
        WriteRandomFile(images / name, size, random);
      } else {
        const std::string below_format = below.ends_with(".raw") ? "raw" : "qcow2";
        CreateQcow2(images / name, {.size = std::to_string(size),
                                    .options = kinds[random.Below(kinds.size())],
                                    .backing = below,
                                    .backing_format = below_format});
        QemuIo(images / name, "qcow2", RandomWrites(random, size, 6));
      }
      images.Keep(name, raw ? "raw" : "qcow2");
      below = name;
    }
  }
  const Daemon daemon({images.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  images.ExpectAllShown(daemon);
  EXPECT_EQ(Status(daemon / "d8.raw", "info")["depth"], 8);
  EXPECT_EQ(ModeOf(daemon / "d8.raw"), 0644);
  EXPECT_EQ(ModeOf(daemon / "d8.6.raw"), 0444);
  EXPECT_LT(::open((daemon / "d8.0.raw").c_str(), O_RDWR), 0);
  EXPECT_EQ(errno, EROFS);
}

TEST(FlatDiskTest, NamesThatCollideAreFull) {
  const TempDir dir;
  WriteTextFile(dir / "vm.raw", std::string(1024, 'r'));
  CreateQcow2(dir / "vm.qcow2", {.size = "1M"});
  CreateQcow2(dir / "other.qcow2", {.size = "1M"});
  const TempDir elsewhere;
  CreateQcow2(elsewhere / "x.qcow2", {.size = "1M"});
  WriteTextFile(elsewhere / "oddly named", std::string(2048, 'o'));
  const Daemon daemon({dir.path(), "named=" + elsewhere / "x.qcow2",
                       "odd=" + (elsewhere / "oddly named") + ",format=raw"});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  EXPECT_EQ(NamesIn(daemon.path()), (std::set<std::string>{"vm.raw.raw", "vm.qcow2.raw",
                                                           "other.raw", "named.raw", "odd.raw"}));
  EXPECT_TRUE(SameContents(daemon / "vm.raw.raw", dir / "vm.raw"));
  EXPECT_TRUE(SameContents(daemon / "odd.raw", elsewhere / "oddly named"));
}

TEST(FlatDiskTest, AnImgThatBeginsLikeQcow2StaysRaw) {
  const TempDir dir;
  CreateQcow2(dir / "cloud.img", {.size = "1M"});
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  EXPECT_EQ(Status(daemon / "cloud.raw", "info")["format"], "raw");
  std::array<char, 4> magic = {};
  std::ifstream(daemon / "cloud.raw", std::ios::binary).read(magic.data(), magic.size());
  EXPECT_EQ(std::string(magic.data(), 3), "QFI");
  EXPECT_NE(daemon.Log().find("format=qcow2"), std::string::npos) << daemon.Log();
  EXPECT_NE(ReadTextFile(daemon / ".chainfs/chains.json").find("format=qcow2"), std::string::npos);
  daemon.Stop();
  const Daemon named({"cloud=" + dir / "cloud.img" + ",format=qcow2"}, {"-o", "ro"});
  ASSERT_TRUE(named.serving()) << named.Log();
  EXPECT_EQ(Status(named / "cloud.raw", "info")["virtual-size"], 1 << 20);
}

// One reason for each broken image, and none harms the others.
TEST(FlatDiskTest, BrokenImagesAreListedAndTheRestWorks) {
  const TempDir dir;
  CreateQcow2(dir / "good.qcow2", {.size = "1M"});
  QemuIo(dir / "good.qcow2", "qcow2", {"write -P 5 0 128k"});
  const TempDir flat;
  Flatten(dir / "good.qcow2", "qcow2", flat / "good");
  WriteTextFile(dir / "garbage.qcow2", "this is no image");
  WriteTextFile(dir / "empty.qcow2", "");
  MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2",
           dir / "orphan.qcow2", "1M"});
  MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw",
           dir / "outside.qcow2", "1M"});
  MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "loop2.qcow2", "-F", "qcow2",
           dir / "loop1.qcow2", "1M"});
  MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "loop1.qcow2", "-F", "qcow2",
           dir / "loop2.qcow2", "1M"});
  MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "good.qcow2", "-F", "qcow2",
           dir / "unnamed.qcow2", "1M"});
  {
    // The backing format becomes an extension that nobody knows.
    std::string image = ReadTextFile(dir / "unnamed.qcow2");
    const size_t at = image.find(std::string("\xE2\x79\x2A\xCA", 4));
    ASSERT_NE(at, std::string::npos);
    WriteTextFile(dir / "unnamed.qcow2", image.replace(at, 4, "\x11\x22\x33\x44"));
  }
  ASSERT_EQ(::mkfifo((dir / "pipe.qcow2").c_str(), 0600), 0);
  const Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const Json chains = ReadJson(daemon / ".chainfs/chains.json");
  std::map<std::string, std::string> errors;
  for (const Json& broken : chains["broken"]) {
    const std::string path = broken["path"];
    errors[path.substr(path.rfind('/') + 1)] = broken["error"];
  }
  for (const std::string name : {"garbage.qcow2", "empty.qcow2", "orphan.qcow2", "outside.qcow2",
                                 "loop1.qcow2", "loop2.qcow2", "unnamed.qcow2"}) {
    EXPECT_NE(errors[name], "") << name << ": " << chains.dump(1);
    EXPECT_FALSE(Exists(daemon / (name.substr(0, name.find('.')) + ".raw"))) << name;
  }
  EXPECT_NE(errors["orphan.qcow2"].find("gone.qcow2"), std::string::npos) << errors["orphan.qcow2"];
  EXPECT_NE(errors["unnamed.qcow2"].find("qemu-img rebase -u"), std::string::npos)
      << errors["unnamed.qcow2"];
  EXPECT_FALSE(Exists(daemon / "pipe.raw"));
  EXPECT_TRUE(SameContents(daemon / "good.raw", flat / "good"));
}

TEST(FlatDiskTest, ImagesComeAndGoWithoutARestart) {
  Random random;
  const TempDir dir;
  const TempDir making;
  CreateQcow2(dir / "first.qcow2", {.size = "1M"});
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  EXPECT_FALSE(Exists(daemon / "second.raw"));
  CreateQcow2(making / "second.qcow2", {.size = "2M"});
  QemuIo(making / "second.qcow2", "qcow2", RandomWrites(random, 2 << 20, 6));
  Flatten(making / "second.qcow2", "qcow2", making / "flat");
  fs::rename(making / "second.qcow2", dir / "second.qcow2");
  EXPECT_TRUE(Eventually([&] { return Exists(daemon / "second.raw"); })) << daemon.Log();
  EXPECT_TRUE(SameContents(daemon / "second.raw", making / "flat"));
  EXPECT_EQ(NamesIn(daemon.path()), (std::set<std::string>{"first.raw", "second.raw"}));

  // Built on something, an image is shown read-only.
  CreateQcow2(making / "third.qcow2", {.backing = dir / "second.qcow2"});
  fs::rename(making / "third.qcow2", dir / "third.qcow2");
  EXPECT_TRUE(Eventually([&] {
    return Exists(daemon / "third.raw") && ModeOf(daemon / "second.raw") == 0444;
  })) << daemon.Log();
  EXPECT_TRUE(SameContents(daemon / "third.raw", making / "flat"));

  fs::remove(dir / "third.qcow2");
  EXPECT_TRUE(Eventually([&] { return !Exists(daemon / "third.raw"); })) << daemon.Log();
  EXPECT_TRUE(Eventually([&] { return ModeOf(daemon / "second.raw") == 0644; })) << daemon.Log();
  fs::remove(dir / "first.qcow2");
  EXPECT_TRUE(Eventually([&] {
    return NamesIn(daemon.path()) == std::set<std::string>{"second.raw"};
  })) << daemon.Log();
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
}

// $CHAINFS_CHAINS chains of mixed kinds; 1,000 of them in the long campaign.
TEST(FlatDiskTest, ManyChains) {
  const char* const wanted = std::getenv("CHAINFS_CHAINS");
  const int count = wanted != nullptr ? std::atoi(wanted) : 100;
  Random random;
  const TempDir dir;
  const TempDir flat;
  const TempDir model;
  WriteRandomFile(model / "a.raw", 64 << 10, random);
  CreateQcow2(dir / "base.qcow2", {.size = "1M"});
  QemuIo(dir / "base.qcow2", "qcow2", RandomWrites(random, 1 << 20, 6));
  CreateQcow2(model / "a.qcow2", {.size = "1M", .options = "cluster_size=4k"});
  QemuIo(model / "a.qcow2", "qcow2", RandomWrites(random, 1 << 20, 6));
  // Its backing name is relative to the directory that it will lie in.
  CreateQcow2(dir / "model.qcow2", {.size = "2M", .backing = "base.qcow2"});
  QemuIo(dir / "model.qcow2", "qcow2", RandomWrites(random, 2 << 20, 6));
  Flatten(model / "a.raw", "raw", flat / "0");
  Flatten(model / "a.qcow2", "qcow2", flat / "1");
  Flatten(dir / "model.qcow2", "qcow2", flat / "2");
  fs::rename(dir / "model.qcow2", model / "b.qcow2");
  const std::array<std::string, 3> models = {model / "a.raw", model / "a.qcow2", model / "b.qcow2"};
  for (int i = 0; i < count; ++i) {
    const std::string& from = models[static_cast<size_t>(i) % 3];
    fs::copy_file(from, dir / ("vm" + std::to_string(i) + from.substr(from.rfind('.'))));
  }
  const auto start = std::chrono::steady_clock::now();
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  EXPECT_EQ(NamesIn(daemon.path()).size(), static_cast<size_t>(count) + 1);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::cout << count << " chains listed " << taken.count() << " s after the start\n";
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(
        SameContents(daemon / ("vm" + std::to_string(i) + ".raw"), flat / std::to_string(i % 3)));
  }
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
}

TEST(FlatDiskTest, TheNameOfAFileInUseStays) {
  const TempDir dir;
  fs::create_directory(dir / "images");
  Daemon daemon({dir / "images"});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const auto name_of = [](const OpenedFile& file) {
    return fs::read_symlink(fmt::format("/proc/self/fd/{}", file.get())).string();
  };
  std::vector<std::unique_ptr<OpenedFile>> files;
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const std::string name = fmt::format("disk{}.raw", round);
    WriteTextFile(dir / ("images/" + name), "");
    ASSERT_EQ(::truncate((dir / ("images/" + name)).c_str(), 4096), 0);
    // Waits for the scan that finds the image.
    files.push_back(std::make_unique<OpenedFile>(daemon / name, O_RDONLY));
    ASSERT_TRUE(files.back()->valid());
    // The map of a disk that came back is that of the new one.
    const OpenedFile map(daemon / (".chainfs/map/disk" + std::to_string(round) + ".json"),
                         O_RDONLY);
    EXPECT_TRUE(map.valid());
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  for (int round = 0; round < 20; ++round) {
    EXPECT_EQ(name_of(*files[static_cast<size_t>(round)]),
              daemon / fmt::format("disk{}.raw", round));
  }
}

TEST(FlatDiskTest, AReplacedDiskHasItsOwnMap) {
  const TempDir dir;
  fs::create_directory(dir / "images");
  const std::string image = dir / "images/d.raw";
  WriteTextFile(image, "");
  ASSERT_EQ(::truncate(image.c_str(), 4096), 0);
  Daemon daemon({dir / "images"});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const OpenedFile used(daemon / "d.raw", O_RDONLY);
  ASSERT_TRUE(used.valid());
  EXPECT_NE(ReadTextFile(daemon / ".chainfs/map/d.json").find("4096"), std::string::npos);
  WriteTextFile(dir / "other", "");
  ASSERT_EQ(::truncate((dir / "other").c_str(), 8192), 0);
  fs::rename(dir / "other", image);
  EXPECT_TRUE(Eventually([&] { return fs::file_size(daemon / "d.raw") == 8192; }));
  EXPECT_TRUE(Eventually([&] {
    return ReadTextFile(daemon / ".chainfs/map/d.json").find("8192") != std::string::npos;
  }));
}

}  // namespace
}  // namespace chainfs
