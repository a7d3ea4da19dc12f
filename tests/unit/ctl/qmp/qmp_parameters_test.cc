// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/parameters.h"

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

namespace chainfs::qmp {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 2> kWords = {"full", "top"};

std::string ErrorOf(Parameters& parameters) {
  const QmpStatus status = parameters.Finish();
  return status ? "" : status.error().description;
}

TEST(Parameters, AreTakenByNameAndType) {
  const json arguments = {{"device", "vm"}, {"size", 7},   {"force", true},
                          {"sync", "top"},  {"data", {1}}, {"file", json::object()},
                          {"negative", -3}};
  Parameters parameters(arguments);
  EXPECT_EQ(parameters.Text("device"), "vm");
  EXPECT_EQ(parameters.Integer("size"), 7);
  EXPECT_EQ(parameters.OptionalInteger("negative"), -3);
  EXPECT_TRUE(parameters.Switch("force", false));
  EXPECT_EQ(parameters.Word("sync", kWords), "top");
  EXPECT_NE(parameters.Array("data"), nullptr);
  EXPECT_NE(parameters.Object("file"), nullptr);
  EXPECT_EQ(parameters.OptionalText("absent"), std::nullopt);
  EXPECT_EQ(parameters.OptionalInteger("absent"), std::nullopt);
  EXPECT_TRUE(parameters.Switch("absent", true));
  EXPECT_EQ(ErrorOf(parameters), "");
}

TEST(Parameters, WhatIsLeftOverIsRefused) {
  const json arguments = {{"device", "vm"}, {"more", 1}};
  Parameters parameters(arguments, "file.");
  parameters.Ignore("device");
  EXPECT_EQ(ErrorOf(parameters), "Parameter 'file.more' is unexpected");
}

TEST(Parameters, TheFirstErrorIsTold) {
  const json arguments = {{"device", 5}};
  Parameters parameters(arguments);
  EXPECT_EQ(parameters.Text("device"), "");
  EXPECT_EQ(parameters.Text("job-id"), "");
  EXPECT_EQ(ErrorOf(parameters), "Invalid parameter type for 'device', expected: string");
}

TEST(Parameters, TypesAreNotMixed) {
  const auto error_of = [](const json& value, auto take) {
    const json arguments = {{"x", value}};
    Parameters parameters(arguments);
    take(parameters);
    return ErrorOf(parameters);
  };
  const auto integer = [](Parameters& p) { (void)p.Integer("x"); };
  const std::string no_integer = "Invalid parameter type for 'x', expected: integer";
  for (const json& value :
       {json("1"), json(1.5), json(true), json(nullptr), json(uint64_t{1} << 63),
        json::parse("123456789012345678901234567890")}) {
    EXPECT_EQ(error_of(value, integer), no_integer) << value;
  }
  EXPECT_EQ(error_of(1, [](Parameters& p) { (void)p.Switch("x", false); }),
            "Invalid parameter type for 'x', expected: boolean");
  EXPECT_EQ(error_of(nullptr, [](Parameters& p) { (void)p.OptionalText("x"); }),
            "Invalid parameter type for 'x', expected: string");
  EXPECT_EQ(error_of("none", [](Parameters& p) { (void)p.OptionalWord("x", kWords); }),
            "Parameter 'x' does not accept value 'none'");
  EXPECT_EQ(error_of(1, [](Parameters& p) { (void)p.Object("x"); }),
            "Invalid parameter type for 'x', expected: object");
  EXPECT_EQ(error_of("a\nb", [](Parameters& p) { (void)p.Text("x"); }),
            "Parameter 'x' contains control characters");
  EXPECT_EQ(error_of(1,
                     [](Parameters& p) {
                       (void)p.Text("y");
                       p.Ignore("x");
                     }),
            "Parameter 'y' is missing");
}

}  // namespace
}  // namespace chainfs::qmp
