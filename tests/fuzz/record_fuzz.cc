// SPDX-License-Identifier: Apache-2.0
//
// The records beside the images: of chains and of jobs, today's and those of earlier versions. What
// is read is written as the same record.
#include <string>

#include "blocklayer/catalog/chain_record.h"
#include "blocklayer/catalog/record_format.h"
#include "jobs/engine/job_record.h"
#include "jobs/engine/old_job_record.h"
#include "tests/fuzz/fuzz_input.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chainfs;
  const std::string_view text = FuzzInput(data, size).RestAsText();
  const std::string_view source = "/srv/images";
  if (const auto fields = ParseRecord(text)) {
    const std::string written = FormatRecord(*fields);
    const auto again = ParseRecord(written);
    FUZZ_ASSERT(again && FormatRecord(*again) == written);
  }
  if (const auto chain = ParseChainRecord(text, source)) {
    const std::string written = FormatChainRecord(*chain, source);
    const auto again = ParseChainRecord(written, source);
    FUZZ_ASSERT(again && FormatChainRecord(*again, source) == written);
  }
  if (const auto job = jobs::ParseJobRecord(text)) {
    const std::string written = jobs::FormatJobRecord(*job);
    const auto again = jobs::ParseJobRecord(written);
    FUZZ_ASSERT(again && jobs::FormatJobRecord(*again) == written);
  }
  if (jobs::IsOldJobRecord(text)) (void)jobs::ParseOldJobRecord(text);
  return 0;
}
