// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/layers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

std::vector<std::string> Paths(const std::vector<LayerFacts>& layers) {
  std::vector<std::string> paths;
  for (const LayerFacts& layer : layers) paths.push_back(layer.path);
  return paths;
}

TEST(Layers, AsTheDaemonTellsThem) {
  const auto layers = LayersFromJson(json::parse(
      R"({"layers":[{"path":"/i/mid","format":"qcow2","actual-size":5,"built-on-by":["vm", 7],)"
      R"("needed":false,"reason":"merged out"},{"path":"/i/odd","needed":"perhaps"}]})"));
  ASSERT_EQ(layers.size(), 2U);
  EXPECT_EQ(layers[0].actual_size, 5U);
  EXPECT_EQ(layers[0].built_on_by, std::vector<std::string>{"vm"});
  EXPECT_FALSE(layers[0].needed);
  EXPECT_TRUE(LayersFromJson(json::parse("[]")).empty());
  EXPECT_EQ(LayersFromJson(json{{"layers", LayersToJson(layers)}})[0].reason, "merged out");
}

json Chains() {
  return json::parse(R"({"chains":[
      {"name":"vm","layers":[{"filename":"/vm"},{"filename":"/base"}]},
      {"name":"other","layers":[{"filename":"/other"},{"filename":"/low"},{"filename":"/base"}]},
      {"name":"mid","layers":[{"filename":"/mid"},{"filename":"/low"},{"filename":"/base"}]},
      {"name":"base","layers":[{"filename":"/base"}]}]})");
}

TEST(Layers, FromChainsByTheirDirectOverlays) {
  const auto layers = LayersFromChains(Chains());
  EXPECT_EQ(Paths(layers), (std::vector<std::string>{"/base", "/low", "/mid", "/other", "/vm"}));
  EXPECT_EQ(layers[0].built_on_by, (std::vector<std::string>{"/vm", "/low"}));
  EXPECT_EQ(layers[1].built_on_by, (std::vector<std::string>{"/other", "/mid"}));
  for (const LayerFacts& layer : layers) EXPECT_TRUE(layer.needed) << layer.path;
}

}  // namespace
}  // namespace chainfs::chainctl
