// SPDX-License-Identifier: Apache-2.0
//
// Disks of no length, of a length that is no multiple of anything, and chains whose layers are
// shorter or longer than what they stand on: whatever job, nothing comes to light that the disk
// does not show, and nothing that it shows is lost.
#include <filesystem>

#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

struct Order {
  const char* type;
  const char* keys;
  Words shape;       // of the chain of c in the end
  const char* copy;  // "" for none
};

std::ostream& operator<<(std::ostream& out, const Order& order) {
  return out << order.type << " " << order.keys;
}

const Words kAsItWas = {"c.qcow2", "b.qcow2", "a.qcow2"};

class OddSizeTest : public StreamFixture, public testing::WithParamInterface<Order> {
 protected:
  // a <- b <- c, of which each is full of its own number where it is not shown through.
  void MakeThree(uint64_t a, uint64_t b, uint64_t c) {
    Create("a.qcow2", a);
    if (a != 0) Io("a.qcow2", {"write -P 1 0 " + std::to_string(a)});
    Create("b.qcow2", b, "a.qcow2");
    if (b != 0) Io("b.qcow2", {"write -P 2 " + std::to_string(b / 1024 * 512) + " 512"});
    Create("c.qcow2", c, "b.qcow2");
    if (c != 0) Io("c.qcow2", {"write -P 3 " + std::to_string(c - 512) + " 512"});
    Remember("c.qcow2");
  }
  void Do() {
    const Order& order = GetParam();
    const auto arguments =
        verbs::Arguments::Parse(order.keys, verbs::FindVerb(verbs::Verbs(), order.type)->keys);
    ASSERT_TRUE(arguments);
    OpenAll();
    const auto id = jobs_->Start(
        {.type = order.type, .disk = Disk("c"), .arguments = *arguments, .privileged = true});
    ASSERT_TRUE(id) << id.error().message;
    const JobInfo info = WaitEnd("c", *id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    EXPECT_EQ(info.current_progress, info.total_progress);
    EXPECT_EQ(ChainOf("c"), order.shape);
    EXPECT_TRUE(Records().empty());
    CloseAll();
    EXPECT_EQ(ChainOnDisk(order.shape.front()), order.shape);
  }
  // Size and contents.
  void ExpectSame(const std::string& file) {
    Run({"qemu-img", "compare", "-f", FormatOf(file), "-F", "raw", At(file), At(".c.qcow2")});
    EXPECT_EQ(SizeOf(file), SizeOf(".c.qcow2")) << file;
    ExpectSound(file);
  }
  uint64_t SizeOf(const std::string& file) const {
    const std::string format = file.starts_with('.') ? "raw" : FormatOf(file);
    return nlohmann::json::parse(
        Run({"qemu-img", "info", "-f", format, "--output=json", At(file)}))["virtual-size"];
  }
  void ExpectDone() {
    ExpectSame(GetParam().shape.front());
    if (*GetParam().copy != '\0') ExpectSame(GetParam().copy);
  }
  void RemoveAll() {
    for (const char* const name :
         {"a.qcow2", "b.qcow2", "c.qcow2", ".c.qcow2", "t.qcow2", "t.raw", ".chainfs"}) {
      std::filesystem::remove_all(At(name));
    }
  }
  bool Commits() const { return std::string(GetParam().type) == "commit"; }
};

TEST_P(OddSizeTest, NoLength) {
  MakeThree(0, 0, 0);
  Do();
  ExpectDone();
}

TEST_P(OddSizeTest, NoMultipleOfAnything) {
  for (const uint64_t size : {uint64_t{512}, 3 * kMiB - 65536 + 1536}) {
    SCOPED_TRACE(size);
    MakeThree(size, size, size);
    Do();
    ExpectDone();
    RemoveAll();
    if (HasFailure()) return;
  }
}

TEST_P(OddSizeTest, AShortBase) {
  MakeThree(kMiB + 512, 3 * kMiB, 3 * kMiB);
  Do();
  ExpectDone();
}

TEST_P(OddSizeTest, AShortLayerBetweenHidesTheLongBase) {
  MakeThree(4 * kMiB, kMiB + 512, 3 * kMiB + 1024);
  Do();
  // A disk that goes on with a longer base has its size; what it showed is the same.
  if (Commits() && GetParam().shape.front() == "a.qcow2") {
    Io("a.qcow2", {"read -P 2 " + std::to_string(kMiB / 2) + " 512",
                   "read -P 0 " + std::to_string(kMiB + 512) + " 2M",
                   "read -P 3 " + std::to_string(3 * kMiB + 512) + " 512"});
    ExpectSound("a.qcow2");
    return;
  }
  ExpectDone();
}

TEST_P(OddSizeTest, AShortOverlayOfALongBase) {
  MakeThree(4 * kMiB, 4 * kMiB, kMiB + 512);
  Do();
  if (Commits() && GetParam().shape.front() == "a.qcow2") {
    // What is past the end of the overlay is base's, as qemu-img commit leaves it.
    Io("a.qcow2", {"read -P 3 1M 512", "read -P 1 " + std::to_string(kMiB + 512) + " 512",
                   "read -P 1 2M 512"});
    return;
  }
  ExpectDone();
}

INSTANTIATE_TEST_SUITE_P(
    Jobs, OddSizeTest,
    testing::Values(Order{"stream", "delete=no", {"c.qcow2"}, ""},
                    Order{"stream", "base=a.qcow2", {"c.qcow2", "a.qcow2"}, ""},
                    Order{"commit", "top=b.qcow2,base=a.qcow2", {"c.qcow2", "a.qcow2"}, ""},
                    Order{"commit", "base=a.qcow2", {"a.qcow2"}, ""},
                    Order{"mirror", "target=t.qcow2,then=keep", kAsItWas, "t.qcow2"},
                    Order{"mirror", "target=t.raw,then=keep", kAsItWas, "t.raw"},
                    Order{"mirror", "target=t.raw,then=pivot", {"t.raw"}, ""},
                    Order{"mirror",
                          "target=t.qcow2,sync=top,then=pivot",
                          {"t.qcow2", "b.qcow2", "a.qcow2"},
                          ""},
                    Order{"backup", "target=t.qcow2", kAsItWas, "t.qcow2"},
                    Order{"backup", "target=t.raw", kAsItWas, "t.raw"},
                    Order{"backup", "target=t.qcow2,compress=zlib", kAsItWas, "t.qcow2"},
                    Order{"backup", "target=t.qcow2,sync=top", kAsItWas, "t.qcow2"},
                    Order{"backup", "target=t.qcow2,since=a.qcow2", kAsItWas, "t.qcow2"}),
    [](const testing::TestParamInfo<Order>& order) {
      std::string name = std::string(order.param.type) + "_" + order.param.keys;
      for (char& letter : name) {
        if (std::isalnum(static_cast<unsigned char>(letter)) == 0) letter = '_';
      }
      return name;
    });

}  // namespace
}  // namespace chainfs::jobs
