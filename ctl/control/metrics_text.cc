// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/metrics_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace chainfs::control {
namespace {

// Prometheus label values escape these three.
std::string LabelText(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

void Head(std::string* out, std::string_view name, std::string_view type, std::string_view help) {
  *out += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

using CountsOf = const LatencyCounts& (*)(const DiskLoad&);

void PutBytes(std::string* out, const std::vector<ServedDiskPtr>& disks, std::string_view what,
              CountsOf counts_of) {
  const std::string bytes = fmt::format("chainfs_{}_bytes_total", what);
  Head(out, bytes, "counter", fmt::format("Bytes of {} requests.", what));
  for (const ServedDiskPtr& served : disks) {
    *out += fmt::format("{}{{disk=\"{}\"}} {}\n", bytes, LabelText(served->disk->name()),
                        counts_of(served->disk->load()).bytes());
  }
}

void PutLatencies(std::string* out, const std::vector<ServedDiskPtr>& disks, std::string_view what,
                  CountsOf counts_of) {
  const std::string seconds = fmt::format("chainfs_{}_seconds", what);
  Head(out, seconds, "histogram", fmt::format("Latency of {} requests inside the daemon.", what));
  for (const ServedDiskPtr& served : disks) {
    const LatencyCounts& counts = counts_of(served->disk->load());
    const std::string label = LabelText(served->disk->name());
    uint64_t sum = 0;
    for (size_t i = 0; i < LatencyCounts::kBuckets; ++i) {
      sum += counts.count(i);
      const bool last = i + 1 == LatencyCounts::kBuckets;
      const std::string bound =
          last ? "+Inf" : fmt::format("{}", std::ldexp(1e-6, static_cast<int>(i)));
      *out += fmt::format("{}_bucket{{disk=\"{}\",le=\"{}\"}} {}\n", seconds, label, bound, sum);
    }
    *out += fmt::format("{}_sum{{disk=\"{}\"}} {}\n", seconds, label,
                        static_cast<double>(counts.total_ns()) * 1e-9);
    *out += fmt::format("{}_count{{disk=\"{}\"}} {}\n", seconds, label, sum);
  }
}

// What changes while a job lives is a value, never a label: that would be another series.
void PutJobs(std::string* out, const std::vector<jobs::JobInfo>& jobs) {
  struct Series {
    std::string_view name;
    std::string_view help;
    uint64_t (*value)(const jobs::JobInfo& job);
  };
  constexpr Series kSeries[] = {
      {"chainfs_job_current_bytes", "Bytes that the job has dealt with.",
       [](const jobs::JobInfo& job) { return job.current_progress; }},
      {"chainfs_job_total_bytes", "Bytes that the job has to deal with.",
       [](const jobs::JobInfo& job) { return job.total_progress; }},
      {"chainfs_job_rate_bytes", "Bytes per second at present.",
       [](const jobs::JobInfo& job) { return job.rate; }},
      {"chainfs_job_status",
       "1 created, 2 running, 3 paused, 4 ready, 5 standby, 6 waiting, 7 pending, 8 aborting, "
       "9 concluded.",
       [](const jobs::JobInfo& job) -> uint64_t { return std::to_underlying(job.status); }},
      {"chainfs_job_failed", "1 when the job has concluded with an error.",
       [](const jobs::JobInfo& job) -> uint64_t {
         return job.status == jobs::JobStatus::kConcluded && job.error && !job.cancelled ? 1 : 0;
       }},
      {"chainfs_job_io_status",
       "Why the job stands still until it is resumed: 0 it does not, 1 an I/O error, 2 no space.",
       [](const jobs::JobInfo& job) -> uint64_t {
         return job.io_status == "nospace" ? 2 : job.io_status == "failed" ? 1 : 0;
       }},
  };
  for (const Series& series : kSeries) {
    Head(out, series.name, "gauge", series.help);
    for (const jobs::JobInfo& job : jobs) {
      if (job.dry_run) continue;
      *out += fmt::format("{}{{disk=\"{}\",id=\"{}\",type=\"{}\"}} {}\n", series.name,
                          LabelText(job.disk), LabelText(job.id), LabelText(job.type),
                          series.value(job));
    }
  }
}

void PutOne(std::string* out, std::string_view name, std::string_view type, std::string_view help,
            uint64_t value) {
  Head(out, name, type, help);
  *out += fmt::format("{} {}\n", name, value);
}

}  // namespace

std::string MetricsText(const MetricsView& view) {
  const CountsOf reads = [](const DiskLoad& m) -> const LatencyCounts& { return m.reads; };
  const CountsOf writes = [](const DiskLoad& m) -> const LatencyCounts& { return m.writes; };
  const CountsOf flushes = [](const DiskLoad& m) -> const LatencyCounts& { return m.flushes; };
  std::string out;
  PutBytes(&out, view.disks, "read", reads);
  PutLatencies(&out, view.disks, "read", reads);
  PutBytes(&out, view.disks, "write", writes);
  PutLatencies(&out, view.disks, "write", writes);
  PutLatencies(&out, view.disks, "flush", flushes);
  Head(&out, "chainfs_errors_total", "counter", "Failed reads, writes and flushes.");
  for (const ServedDiskPtr& served : view.disks) {
    out += fmt::format("chainfs_errors_total{{disk=\"{}\"}} {}\n", LabelText(served->disk->name()),
                       served->disk->load().errors.load());
  }
  Head(&out, "chainfs_trace_running", "gauge", "1 while what is read of the disk is recorded.");
  for (const ServedDiskPtr& served : view.disks) {
    const std::string& name = served->disk->name();
    out += fmt::format("chainfs_trace_running{{disk=\"{}\"}} {}\n", LabelText(name),
                       std::ranges::find(view.traced, name) != view.traced.end() ? 1 : 0);
  }
  PutJobs(&out, view.jobs);
  PutOne(&out, "chainfs_metadata_cache_hits_total", "counter", "Table slices found in memory.",
         view.metadata_hits);
  PutOne(&out, "chainfs_metadata_cache_misses_total", "counter", "Table slices read from images.",
         view.metadata_misses);
  PutOne(&out, "chainfs_metadata_cache_bytes", "gauge", "Memory that the cache holds.",
         view.metadata_bytes);
  return out;
}

}  // namespace chainfs::control
