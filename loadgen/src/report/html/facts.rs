//! The figures of a run on the page: tiles at the top, tables, and how the run was made. Pure; used by the
//! page.

use super::super::figures::{
    self, PERCENTILES, bytes, count, duration, duration_or_unknown, percent, rate,
};
use super::super::{Latency, Report};
use newim_charts::escape;

use crate::limits::WORDS_SHOWN_MAX;

/// The figures that readers look for first.
pub fn tiles(report: &Report) -> String {
    let connections = &report.connections;
    let messages = &report.messages;
    let mut tiles = vec![tile(
        "connections",
        &count(connections.opened),
        &format!(
            "of {} asked, {} lost",
            count(connections.asked),
            count(connections.lost)
        ),
    )];
    let of_offered = match messages.offered_per_s {
        offered if offered > 0.0 => format!("of {} offered", rate(offered)),
        _ => "closed loop".to_owned(),
    };
    if messages.sent > 0 {
        tiles.push(tile(
            "sent per second",
            &rate(messages.achieved_per_s),
            &of_offered,
        ));
        tiles.push(tile(
            "delivered",
            &figures::rate(messages.delivered as f64),
            &format!("of {} sent", rate(messages.sent as f64)),
        ));
    }
    tiles.extend(latency_tiles(report));
    if report.verified.checked > 0 || report.verified.wrong() > 0 {
        let wrong = report.verified.wrong();
        tiles.push(tile(
            "wrong messages",
            &count(wrong),
            &format!("of {} checked", rate(report.verified.checked as f64)),
        ));
    }
    let total = report
        .server
        .iter()
        .flat_map(|server| &server.bytes_per_conn)
        .find(|(part, _)| part == "total");
    if let Some((_, total)) = total {
        tiles.push(tile(
            "bytes per connection",
            &bytes(*total),
            "on the server, kernel included",
        ));
    }
    format!(
        "<section class=\"tiles\" aria-label=\"In short\">\n{}</section>\n",
        tiles.concat()
    )
}

fn tile(name: &str, figure: &str, beside: &str) -> String {
    let (name, figure, beside) = (escape(name), escape(figure), escape(beside));
    format!(
        "<div class=\"tile\"><span>{name}</span><strong>{figure}</strong><small>{beside}</small></div>\n"
    )
}

fn latency_tiles(report: &Report) -> Option<String> {
    if !report.honesty.spoiled.is_empty() {
        return None;
    }
    let kind = |name: &str| report.latencies.iter().find(|kind| kind.name == name);
    let Latency {
        name, corrected_us, ..
    } = kind("delivery")
        .or_else(|| kind("echo"))
        .or(report.latencies.first())?;
    let at = |quantile| duration_or_unknown(figures::percentile_us(corrected_us, quantile));
    let max = duration_or_unknown(figures::max_us(corrected_us));
    let median = tile(
        &format!("{name}, median"),
        &at(0.5),
        &format!("90 % within {}", at(0.9)),
    );
    Some(
        median
            + &tile(
                &format!("{name}, 99 %"),
                &at(0.99),
                &format!("at most {max}"),
            ),
    )
}

pub fn tables(report: &Report) -> String {
    [latencies(report), messages(report), server(report)].concat()
}

fn latencies(report: &Report) -> String {
    if report.latencies.is_empty() || !report.honesty.spoiled.is_empty() {
        return String::new();
    }
    let heads = PERCENTILES
        .map(|(name, _)| format!("<th scope=\"col\">{name}</th>"))
        .concat();
    let row = |name: &str, class: &str, histogram| {
        let quantiles =
            PERCENTILES.map(|(_, quantile)| figures::percentile_us(histogram, quantile));
        let others = [figures::max_us(histogram), figures::mean_us(histogram)];
        let cells = quantiles
            .into_iter()
            .chain(others)
            .map(|us| format!("<td>{}</td>", duration_or_unknown(us)));
        let cells: String = cells.collect();
        format!(
            "<tr class=\"{class}\"><th scope=\"row\">{}</th>{cells}<td>{}</td></tr>\n",
            escape(name),
            count(histogram.len())
        )
    };
    let rows: String = report
        .latencies
        .iter()
        .map(|kind| row(&kind.name, "", &kind.corrected_us) + &row("raw", "raw", &kind.raw_us))
        .collect();
    format!(
        "<section>\n<h2>Latencies</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">kind</th>{heads}\
         <th scope=\"col\">max</th><th scope=\"col\">mean</th><th scope=\"col\">values</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
    )
}

fn messages(report: &Report) -> String {
    let (connections, messages) = (&report.connections, &report.messages);
    let (verified, honesty) = (&report.verified, &report.honesty);
    let sent = definitions(
        "Messages",
        &[
            ("sent", count(messages.sent)),
            ("acknowledged", count(messages.acknowledged)),
            ("delivered", count(messages.delivered)),
            ("delivered by a pull", count(messages.pulled)),
            ("out", bytes(messages.bytes_out as f64)),
            ("in", bytes(messages.bytes_in as f64)),
            ("requests refused", count(messages.refused)),
        ],
    );
    let checked = definitions(
        "Verified",
        &[
            ("checked", count(verified.checked)),
            ("lost", count(verified.lost)),
            ("duplicated", count(verified.duplicated)),
            ("out of order", count(verified.misordered)),
            ("corrupted", count(verified.corrupted)),
            ("with the wrong client", count(verified.strayed)),
        ],
    );
    let held = definitions(
        "Connections",
        &[
            ("asked", count(connections.asked)),
            ("opened", count(connections.opened)),
            ("refused", count(connections.refused)),
            ("lost", count(connections.lost)),
            ("reconnects", count(connections.reconnects)),
            ("handshakes per second", rate(connections.handshakes_per_s)),
        ],
    );
    let generator = definitions(
        "The generator itself",
        &[
            ("sends late, p99", duration(honesty.send_lag_p99_us as f64)),
            (
                "sends late, at most",
                duration(honesty.send_lag_max_us as f64),
            ),
            ("CPU cores used", figures::digits(honesty.cpu)),
            ("busiest shard", percent(honesty.busiest_shard_cpu)),
        ],
    );
    let refusals = words("Refusals", &messages.refusals);
    format!("<section class=\"columns\">\n{held}{sent}{checked}{generator}</section>\n{refusals}")
}

fn server(report: &Report) -> String {
    let Some(server) = &report.server else {
        return String::new();
    };
    let parts = server
        .bytes_per_conn
        .iter()
        .map(|(part, size)| (part.as_str(), bytes(*size)));
    let parts: Vec<(&str, String)> = parts.collect();
    let memory = if parts.is_empty() {
        String::new()
    } else {
        definitions("Server, per connection", &parts)
    };
    let cpu = [
        ("CPU time", duration(server.cpu_s * 1e6)),
        ("per delivery", duration(server.cpu_us_per_delivery)),
    ];
    format!(
        "<section class=\"columns\">\n{memory}{}</section>\n",
        definitions("Server, CPU", &cpu)
    )
}

/// What is needed to repeat the run: the command and the machine.
pub fn circumstances(report: &Report) -> String {
    let machine = &report.machine;
    let facts = [
        ("processes", count(report.processes.into())),
        ("shards", count(report.shards.into())),
        ("kernel", machine.kernel.clone()),
        ("processor", machine.cpu.clone()),
        ("cores", count(machine.cores.into())),
        ("memory", bytes(machine.memory_bytes as f64)),
    ];
    let command: Vec<String> = report.command.iter().map(|word| quoted(word)).collect();
    let command = escape(&command.join(" "));
    format!(
        "<section>\n<h2>Command</h2>\n<pre><code>{command}</code></pre>\n</section>\n\
         <section class=\"columns\">\n{}</section>\n",
        definitions("Machine of the generator", &facts)
    )
}

/// A word quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn definitions(title: &str, facts: &[(&str, String)]) -> String {
    let rows = facts.iter().filter(|(_, value)| !value.is_empty());
    let rows =
        rows.map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)));
    format!(
        "<div class=\"facts\"><h2>{}</h2>\n<dl>\n{}</dl></div>\n",
        escape(title),
        rows.collect::<String>()
    )
}

fn words(title: &str, words: &[String]) -> String {
    if words.is_empty() {
        return String::new();
    }
    let items: String = words
        .iter()
        .take(WORDS_SHOWN_MAX)
        .map(|word| format!("<li>{}</li>\n", escape(word)))
        .collect();
    format!("<section>\n<h2>{title}</h2>\n<ul>\n{items}</ul>\n</section>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::report;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let mut odd = report();
        odd.command = ["newim-loadgen", "--assert", "p99<5ms", "it's", ""]
            .map(str::to_owned)
            .to_vec();
        let page = circumstances(&odd);
        assert!(page.contains("newim-loadgen --assert &#39;p99&lt;5ms&#39; &#39;it&#39;\\&#39;&#39;s&#39; &#39;&#39;"), "{page}");
    }

    #[test]
    fn tiles_tell_the_run_at_a_glance() {
        let tiles = tiles(&report());
        for figure in [
            "<strong>1,000</strong>",
            "<strong>167</strong>",
            "<strong>9.9 ms</strong>",
            "<strong>0</strong>",
            "<strong>4.12 KB</strong>",
        ] {
            assert!(tiles.contains(figure), "{figure} in {tiles}");
        }
    }
}
