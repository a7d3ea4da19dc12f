// SPDX-License-Identifier: Apache-2.0
//
// QmpTest: a QMP server on a control plane over images in memory, and clients of it. The chain is
// base <- vm; base has a mebibyte of data, so that a slow stream of vm lasts.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ctl/qmp/server.h"
#include "tests/support/qmp_client.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::qmp {

using nlohmann::json;

class QmpTest : public control::ControlTest {
 protected:
  void SetUp() override {
    Make("base.qcow2");
    Open();
    const std::vector<std::byte> data(kSize, std::byte{7});
    ASSERT_TRUE(Find("base")->Write(GuestOffset(0), data));
    Make("vm.qcow2", "base.qcow2");
    Open();
    Serve();
  }
  void TearDown() override { server_.reset(); }

  void Serve(std::optional<gid_t> group = std::nullopt) {
    auto server = Server::Listen(socket_, group, *catalog_, *plane_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = *std::move(server);
    server_->Start();
  }
  // That has negotiated.
  std::unique_ptr<QmpClient> Connect() {
    auto client = std::make_unique<QmpClient>(socket_);
    EXPECT_TRUE(client->connected());
    EXPECT_EQ(client->Return("qmp_capabilities"), json::object());
    return client;
  }
  // A stream that does not end by itself.
  static json SlowStream(const std::string& id) {
    return {{"device", "vm"}, {"job-id", id}, {"speed", 1}};
  }
  // The statuses of the job, until the last.
  static std::vector<std::string> StatusesUntil(QmpClient& client, const std::string& id,
                                                const std::string& last) {
    std::vector<std::string> statuses;
    for (;;) {
      const json event = client.WaitForEvent("JOB_STATUS_CHANGE", id);
      if (event.is_null()) return statuses;
      statuses.push_back(event["data"]["status"]);
      if (statuses.back() == last) return statuses;
    }
  }

  const TempDir dir_;
  const std::string socket_ = dir_ / "qmp.sock";
  std::unique_ptr<Server> server_;
};

}  // namespace chainfs::qmp
