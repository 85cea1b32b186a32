//! Stable texts for snapshots: values that differ from run to run are replaced by their name in
//! brackets.

use serde_json::{Map, Value};

/// The members of a state or status whose values are times, spans or addresses.
const VARIABLE_MEMBERS: [&str; 16] = [
    "at",
    "call_ms_p50",
    "call_ms_p95",
    "connected_at",
    "connected_s",
    "duration_ms",
    "for_ms",
    "last_seen",
    "now",
    "remote_addr",
    "req_id",
    "relay_id",
    "since",
    "since_ms",
    "started_at",
    "uptime_s",
];

/// Formats JSON with sorted members, without the values of times, spans, addresses and request ids.
pub fn json_snapshot(value: &Value) -> String {
    format!("{:#}", redacted(value))
}

fn redacted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::String(text) => without_ports(text).into(),
        Value::Object(members) => redacted_members(members).into(),
        other => other.clone(),
    }
}

fn redacted_members(members: &Map<String, Value>) -> Map<String, Value> {
    // The state names a running call by its request id.
    let is_call = members.contains_key("client_id");
    let mut names: Vec<&String> = members.keys().collect();
    names.sort();

    let redact = |name: &String| {
        let is_variable = VARIABLE_MEMBERS.contains(&name.as_str()) || (is_call && name == "id");
        let value = match &members[name] {
            Value::Null => Value::Null,
            _ if is_variable => format!("[{name}]").into(),
            value => redacted(value),
        };
        (name.clone(), value)
    };
    names.into_iter().map(redact).collect()
}

/// Formats a text of metrics: names, types, help texts, labels, and the values that are the same in
/// every run. Metrics of the process are left out, as they depend on the platform, and histograms of
/// methods that were not called.
pub fn metrics_snapshot(text: &str) -> String {
    let not_called: Vec<&str> = text.lines().filter_map(uncalled_method).collect();
    let is_shown = |line: &&str| {
        let name = line.trim_start_matches("# HELP ");
        let name = name.trim_start_matches("# TYPE ");
        !name.starts_with("process_") && !not_called.iter().any(|label| line.contains(label))
    };

    let lines = text.lines().filter(is_shown);
    let lines = lines.map(|line| match line.rsplit_once(' ') {
        Some((series, _)) if !line.starts_with('#') && is_variable_series(series) => {
            format!("{series} [value]\n")
        }
        _ => format!("{line}\n"),
    });
    with_sorted_series(lines.collect()).concat()
}

/// Sorts the series of each counter and gauge. Buckets of histograms keep their order.
fn with_sorted_series(mut lines: Vec<String>) -> Vec<String> {
    let families = lines.chunk_by_mut(|_, next| !next.starts_with("# HELP "));
    for family in families {
        let is_histogram = family.iter().any(|line| line.ends_with(" histogram\n"));
        let first = family.iter().position(|line| !line.starts_with('#'));
        if let (false, Some(first)) = (is_histogram, first) {
            family[first..].sort();
        }
    }
    lines
}

/// Returns the label of a method that a line counts no call of, such as `method="ping"`.
fn uncalled_method(line: &str) -> Option<&str> {
    let series = line.strip_suffix("} 0")?;
    let (name, labels) = series.split_once('{')?;
    let is_count = name.ends_with("_count") && labels.starts_with("method=");
    is_count.then_some(labels)
}

/// Returns whether the values of a series are measured times.
fn is_variable_series(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_seconds", "_seconds_bucket", "_seconds_sum"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Replaces the port of each address on loopback.
pub(crate) fn without_ports(text: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = text.split(HOST);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        result.push_str(HOST);
        result.push_str("[port]");
        result.push_str(rest);
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_varies_is_replaced() {
        let state =
            json!({ "z": 1, "since": "2026", "at": null, "url": "http://127.0.0.1:80/mcp" });

        let text = json_snapshot(&state);

        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let expected = [
            "{",
            r#""at": null,"#,
            r#""since": "[since]","#,
            r#""url": "http://127.0.0.1:[port]/mcp","#,
            r#""z": 1"#,
            "}",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn measured_times_are_replaced_in_metrics() {
        let text =
            "# HELP a_seconds A.\na_seconds_bucket{le=\"1\"} 3\na_seconds_count 3\nprocess_x 1\n";

        let expected =
            "# HELP a_seconds A.\na_seconds_bucket{le=\"1\"} [value]\na_seconds_count 3\n";
        assert_eq!(metrics_snapshot(text), expected);
    }

    #[test]
    fn series_are_sorted_within_their_metric() {
        let text = "# HELP b B.\n# TYPE b counter\nb{x=\"2\"} 1\nb{x=\"1\"} 1\n# HELP a A.\na 1\n";

        let expected =
            "# HELP b B.\n# TYPE b counter\nb{x=\"1\"} 1\nb{x=\"2\"} 1\n# HELP a A.\na 1\n";
        assert_eq!(metrics_snapshot(text), expected);
    }

    #[test]
    fn methods_without_calls_are_left_out_of_metrics() {
        let text = "a_count{method=\"x\"} 1\na_sum{method=\"y\"} 0\na_count{method=\"y\"} 0\n";

        assert_eq!(metrics_snapshot(text), "a_count{method=\"x\"} 1\n");
    }
}
