// SPDX-License-Identifier: Apache-2.0
//
// A layer that the record of a job names is needed, in whatever version the record is and whatever
// bytes the path has.
#include "blocklayer/catalog/layer_needs.h"

#include <fmt/format.h>

#include <filesystem>

#include "blocklayer/base/percent_text.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class LayerNeedsTest : public CatalogTest {
 protected:
  // A chain of two; nobody but a record needs its base.
  void Make(const std::string& base) {
    MakeQcow2(base);
    MakeOverlay("top.qcow2", base.find(':') == std::string::npos ? base : "./" + base);
    ASSERT_TRUE(OpenAll());
    top_ = catalog_->Find("top");
    ASSERT_NE(top_, nullptr) << BrokenError("top").message;
  }
  void TearDown() override { top_ = nullptr; }

  bool IsNeeded() {
    const Layers layers = top_->chain()->AllLayers();
    return catalog_->Unneeded(*layers.at(0), {layers.at(1)}).empty();
  }
  void Record(const std::string& text) {
    ASSERT_TRUE(catalog_->records().Write(*top_, "job-1", text));
  }

  DiskPtr top_;
};

TEST_F(LayerNeedsTest, TheRecordOfAJobIsSeenWhateverItsVersion) {
  for (const std::string name : {"base.qcow2", "we\\ird \"base\" 100%.qcow2", "b%41se.qcow2",
                                 "gr\xc3\xb6\xc3\x9f"
                                 "e,=.qcow2",
                                 "a: b'c.qcow2"}) {
    SCOPED_TRACE(name);
    Make(name);
    EXPECT_FALSE(IsNeeded());
    std::string percent;
    for (const char c : At(name)) percent += c == '%' ? "%25" : std::string(1, c);
    Record(fmt::format("version=1\nid=1\ntop={}\nbase={}\nspeed=0\n", At("top.qcow2"), percent));
    EXPECT_TRUE(IsNeeded());
    Record(fmt::format("{{\n  \"version\": 2,\n  \"command\": {{\n    \"base\": \"{}\"\n  }}\n}}\n",
                       PercentEscape(At(name))));
    EXPECT_TRUE(IsNeeded());
    Record(fmt::format("{{\"version\": 3, \"layers\": [\"{}\"]}}\n", PercentEscape(At(name))));
    EXPECT_TRUE(IsNeeded());
    Record(fmt::format("version=1\nbase={}.old\n", percent));
    EXPECT_FALSE(IsNeeded()) << "another file";
    Record(fmt::format("{{\"base\": \"{}.old\"}}\n", PercentEscape(At(name))));
    EXPECT_FALSE(IsNeeded()) << "another file";
    TearDown();
    ASSERT_TRUE(catalog_->Close());
    catalog_.reset();
    std::filesystem::remove(At(name));
    std::filesystem::remove(At("top.qcow2"));
    std::filesystem::remove_all(At(".chainfs"));
  }
}

}  // namespace
}  // namespace chainfs
