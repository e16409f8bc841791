//! The report as plain text, and a line for each second, for `--plain`. Main thread.

use std::io::{self, Write};

use super::data::{Latency, Report, Sample};

pub fn sample(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    writeln!(
        out,
        "{:>5.1} s {:<8} {:>8} connections {:>9.0}/s sent {:>9.0}/s delivered  p50 {} p99 {} max {} us  {} errors  {:.2} cores",
        sample.at_ms as f64 / 1000.0,
        sample.phase,
        sample.connections,
        sample.sent_per_s,
        sample.delivered_per_s,
        sample.p50_us,
        sample.p99_us,
        sample.max_us,
        sample.errors,
        sample.cpu,
    )
}

pub fn table(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let (connections, messages) = (&report.connections, &report.messages);
    writeln!(
        out,
        "scenario     {} on {}",
        report.scenario,
        report.targets.join(", ")
    )?;
    writeln!(
        out,
        "connections  {} of {} opened, {} refused, {} lost, {} reconnects, {:.0} handshakes/s, {} shards",
        connections.opened,
        connections.asked,
        connections.refused,
        connections.lost,
        connections.reconnects,
        connections.handshakes_per_s,
        report.shards,
    )?;
    writeln!(
        out,
        "messages     {} sent ({:.0}/s of {:.0}/s), {} acknowledged, {} delivered, {} by pull, {} refused",
        messages.sent,
        messages.achieved_per_s,
        messages.offered_per_s,
        messages.acknowledged,
        messages.delivered,
        messages.pulled,
        messages.refused,
    )?;
    let is_spoiled = !report.honesty.spoiled.is_empty();
    for latency in report.latencies.iter().filter(|_| !is_spoiled) {
        percentiles(out, latency)?;
    }
    let verified = &report.verified;
    writeln!(
        out,
        "verified     {} checked: {} lost, {} duplicated, {} out of order, {} corrupted, {} strayed",
        verified.checked,
        verified.lost,
        verified.duplicated,
        verified.misordered,
        verified.corrupted,
        verified.strayed,
    )?;
    let honesty = &report.honesty;
    writeln!(
        out,
        "generator    send lag p99 {} us, max {} us; busiest shard {:.2} of a core, all {:.2} cores",
        honesty.send_lag_p99_us, honesty.send_lag_max_us, honesty.busiest_shard_cpu, honesty.cpu,
    )?;
    if let Some(server) = &report.server {
        for (part, bytes) in &server.bytes_per_conn {
            writeln!(out, "server       {bytes:.0} bytes per connection, {part}")?;
        }
        writeln!(
            out,
            "server       {:.2} s of CPU, {:.2} us per delivery",
            server.cpu_s, server.cpu_us_per_delivery
        )?;
    }
    let words = verified.examples.iter().chain(&messages.refusals);
    for text in words.chain(&honesty.spoiled) {
        writeln!(out, "  ! {text}")?;
    }
    Ok(())
}

fn percentiles(out: &mut impl Write, latency: &Latency) -> io::Result<()> {
    let both = [("", &latency.corrected_us), (" (raw)", &latency.raw_us)];
    for (kind, histogram) in both {
        writeln!(
            out,
            "{:<12} p50 {} p90 {} p99 {} p99.9 {} max {} us of {}{kind}",
            latency.name,
            histogram.value_at_quantile(0.5),
            histogram.value_at_quantile(0.9),
            histogram.value_at_quantile(0.99),
            histogram.value_at_quantile(0.999),
            histogram.max(),
            histogram.len(),
        )?;
    }
    Ok(())
}
