//! The state as people read it: what needs attention first, then every id.

use std::time::Duration;

use super::super::address::ServerAddress;
use super::super::client::RemoteError;
use super::super::state::{Id, Offline, Problem, State, Worker};
use super::super::text::{Paint, shown};

/// The most ids and workers that are shown; the rest is counted.
const MAX_ROWS: usize = 200;
/// The most problems that are shown; the rest is counted.
const MAX_PROBLEMS: usize = 20;
/// The longest cell of a table, in characters.
const MAX_CELL: usize = 40;
/// The longest line of a problem, in characters.
const MAX_LINE: usize = 300;

/// A row of the table: its cells, and the word of state that colours the first.
struct Row {
    state: &'static str,
    cells: [String; 8],
}

const HEAD: [&str; 8] = [
    "STATE",
    "ID",
    "RELAYS",
    "PROVIDER",
    "CALLS/MIN",
    "FAILED",
    "P95",
    "RUNNING",
];
/// The columns with numbers, which are aligned at their ends.
const NUMBERS: [usize; 4] = [4, 5, 6, 7];

/// Returns the whole page.
pub(super) fn page(state: &State, address: &ServerAddress, paint: Paint) -> String {
    let mut page = header(state, address, paint);
    page.push_str(&attention(state, paint));
    page.push_str(&ids(state, paint));
    page.push_str(&workers(&state.workers));
    page
}

/// Returns the page while the server does not answer.
pub(super) fn lost(error: &RemoteError, paint: Paint) -> String {
    let error = shown(&error.to_string(), MAX_LINE);
    format!("{}\n", paint.red(&format!("◌ unknown  {error}")))
}

fn header(state: &State, address: &ServerAddress, paint: Paint) -> String {
    let server = &state.server;
    let up = humantime::format_duration(Duration::from_secs(coarse(server.uptime_s)));
    let is_ready = server.state == "ready";
    let word = shown(&server.state, MAX_CELL);
    let word = if is_ready { word } else { paint.yellow(&word) };
    let running = match server.jobs_inflight_total {
        1 => "1 call running".to_owned(),
        calls => format!("{calls} calls running"),
    };
    let waiting = match server.scheduler_queue_len {
        0 => String::new(),
        calls => format!(", {calls} waiting"),
    };
    let version = shown(&server.version, MAX_CELL);
    format!(
        "{}  {}  {word}, up {up}, {running}{waiting}\n",
        paint.bold(&format!("llamapool {version}")),
        shown(&address.to_string(), MAX_LINE),
    )
}

/// Returns a number of seconds without those that nobody wants to read.
fn coarse(seconds: u64) -> u64 {
    match seconds {
        0..120 => seconds,
        120..86_400 => seconds - seconds % 60,
        _ => seconds - seconds % 3600,
    }
}

fn attention(state: &State, paint: Paint) -> String {
    let Some(problems) = &state.problems else {
        let older = "this server is older than this command, and computes no problems";
        return format!("{}\n\n", paint.yellow(older));
    };
    let urgent = problems.iter().filter(|it| it.level != "note").count();
    let mut text = match urgent {
        0 => "Nothing needs attention.\n".to_owned(),
        1 => "1 thing needs attention:\n".to_owned(),
        urgent => format!("{urgent} things need attention:\n"),
    };
    for problem in problems.iter().take(MAX_PROBLEMS) {
        text.push_str(&problem_lines(problem, paint));
    }
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        text.push_str(&format!("  … and {more} more: --json has all of them\n"));
    }
    text.push('\n');
    text
}

fn problem_lines(problem: &Problem, paint: Paint) -> String {
    let (mark, word) = mark(&problem.kind);
    let kind = format!("{mark} {word:<13}");
    let kind = match problem.level.as_str() {
        "error" => paint.red(&kind),
        "warning" => paint.yellow(&kind),
        _ => paint.dim(&kind),
    };
    let id = paint.bold(&shown(&problem.id, 128));
    if problem.level == "note" {
        return format!(
            "  {kind} {id}  {}\n",
            paint.dim(&shown(&problem.text, MAX_LINE))
        );
    }

    let mut facts = Vec::new();
    if let Some(cause) = &problem.cause {
        facts.push(format!("{cause} at {}", problem.hop));
    }
    match (problem.of, problem.count) {
        (Some(0), _) | (None, 0) => {}
        (Some(of), count) => facts.push(format!("{count} of {of} calls failed in the last minute")),
        (None, 1) => facts.push("1 call was refused since".to_owned()),
        (None, count) => facts.push(format!("{count} calls were refused since")),
    }
    facts.push(format!("since {}", moment(&problem.since)));
    if let Some(relay) = problem.relay.as_ref().filter(|name| !name.is_empty()) {
        facts.push(format!("relay {}", shown(relay, MAX_CELL)));
    }

    let facts = shown(&facts.join(", "), MAX_LINE);
    let mut lines = format!("  {kind} {id}  {facts}\n");
    if !problem.text.is_empty() {
        lines.push_str(&format!("    {}\n", shown(&problem.text, MAX_LINE)));
    }
    if !problem.todo.is_empty() {
        let todo = shown(&problem.todo.replace('`', ""), MAX_LINE);
        lines.push_str(&paint.dim(&format!("    → {todo}")));
        lines.push('\n');
    }
    lines
}

/// Returns the mark and the words for a state or a kind of problem. The shape tells what the colour does.
fn mark(word: &str) -> (&'static str, &'static str) {
    match word {
        "up" => ("●", "up"),
        "failing" => ("▲", "failing"),
        "provider_down" => ("■", "provider down"),
        "no_relay" => ("○", "no relay"),
        "draining" => ("◐", "draining"),
        "open" => ("△", "open"),
        _ => ("◌", "unknown"),
    }
}

/// Returns the time of day, with the day if it is long ago enough to matter, in UTC.
fn moment(rfc3339: &str) -> String {
    let (day, time) = rfc3339.split_once('T').unwrap_or(("", rfc3339));
    let time: String = time.chars().take(8).collect();
    let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let moment = if today.starts_with(day) {
        format!("{time} UTC")
    } else {
        format!("{day} {time} UTC")
    };
    shown(&moment, MAX_CELL)
}

fn ids(state: &State, paint: Paint) -> String {
    let connected = state.mcp.clients.iter().map(of_id);
    let mut rows: Vec<Row> = connected
        .chain(state.mcp.offline.iter().map(of_offline))
        .collect();
    if rows.is_empty() {
        return "No id has a relay: start one beside an MCP server with `llamapool mcp`.\n"
            .to_owned();
    }

    // The trouble first, and otherwise by name, as the server lists them.
    rows.sort_by_key(|row| rank(row.state));
    let count = |word| rows.iter().filter(|row| row.state == word).count();
    let up = format!("{} of {} ids up", count("up"), rows.len());
    let others = [
        "provider_down",
        "failing",
        "no_relay",
        "draining",
        "unknown",
    ];
    let others = others.iter().filter(|word| count(word) > 0);
    let others = others.map(|word| format!(", {} {}", count(word), mark(word).1));
    let mut text = format!("{up}{}\n", others.collect::<String>());
    text.push_str(&table(&rows, paint));
    text
}

fn rank(state: &str) -> usize {
    let order = [
        "provider_down",
        "failing",
        "no_relay",
        "unknown",
        "draining",
    ];
    order
        .iter()
        .position(|word| *word == state)
        .unwrap_or(order.len())
}

/// Returns the word of state that is known here.
fn known(word: Option<&str>) -> &'static str {
    let words = ["up", "failing", "provider_down", "no_relay", "draining"];
    let found = words.into_iter().find(|known| Some(*known) == word);
    found.unwrap_or("unknown")
}

fn of_id(id: &Id) -> Row {
    let names: Vec<_> = id
        .relays
        .iter()
        .map(|relay| name_of(&relay.name, &relay.relay_id))
        .collect();
    let provider = id.relays.first().map_or("–".to_owned(), |relay| {
        let kind = if relay.bridge.is_some() {
            "program"
        } else {
            "http"
        };
        format!("{kind} {}", shown(&relay.provider.status, MAX_CELL))
    });
    let share = match id.calls_1m {
        0 => "–".to_owned(),
        calls => format!("{:.0} %", 100.0 * id.failed_1m as f64 / calls as f64),
    };
    let p95 = id
        .call_ms_p95
        .map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
    row(
        known(id.state.as_deref()),
        [
            id.id.clone(),
            names.join(", "),
            provider,
            id.calls_1m.to_string(),
            share,
            p95,
            id.inflight.to_string(),
        ],
    )
}

/// Returns the name of a relay, or its id if it has none.
fn name_of(name: &str, relay_id: &str) -> String {
    if name.is_empty() {
        relay_id.to_owned()
    } else {
        name.to_owned()
    }
}

fn of_offline(offline: &Offline) -> Row {
    let none = || "–".to_owned();
    let refused = match offline.refused_total {
        0 => none(),
        calls => format!("{calls} refused"),
    };
    row(
        "no_relay",
        [
            offline.id.clone(),
            format!(
                "{} until {}",
                shown(&offline.relay, 20),
                moment(&offline.since)
            ),
            none(),
            none(),
            refused,
            none(),
            none(),
        ],
    )
}

fn row(state: &'static str, cells: [String; 7]) -> Row {
    let (mark, word) = mark(state);
    let mut all = vec![format!("{mark} {word}")];
    all.extend(cells.iter().map(|cell| shown(cell, MAX_CELL)));
    let cells = all.try_into().unwrap_or_default();
    Row { state, cells }
}

fn painted(state: &str, text: &str, paint: Paint) -> String {
    match state {
        "up" => paint.green(text),
        "failing" | "draining" => paint.yellow(text),
        "provider_down" | "no_relay" => paint.red(text),
        _ => paint.dim(text),
    }
}

fn table(rows: &[Row], paint: Paint) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .take(MAX_ROWS)
            .map(|row| row.cells[column].chars().count());
        cells
            .chain([HEAD[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };

    let mut text = paint.dim(&line(&HEAD.map(str::to_owned)));
    text.push('\n');
    for row in rows.iter().take(MAX_ROWS) {
        let line = line(&row.cells);
        let (state, rest) = line.split_at(row.cells[0].len());
        text.push_str(&painted(row.state, state, paint));
        text.push_str(rest);
        text.push('\n');
    }
    if rows.len() > MAX_ROWS {
        let more = rows.len() - MAX_ROWS;
        text.push_str(&format!("… and {more} more ids: --json has all of them\n"));
    }
    text
}

fn workers(workers: &[Worker]) -> String {
    if workers.is_empty() {
        return String::new();
    }
    let mut text = "\nWorkers\n".to_owned();
    for worker in workers.iter().take(MAX_ROWS) {
        let models = worker.models_supported.as_deref().unwrap_or_default();
        let slots = match worker.max_concurrency {
            0 => String::new(),
            most => format!("/{most}"),
        };
        text.push_str(&format!(
            "{:<10}  {}  {}{slots} running  {}\n",
            shown(&worker.status, 10),
            shown(&name_of(&worker.name, &worker.id), MAX_CELL),
            worker.inflight,
            shown(&models.join(", "), MAX_LINE),
        ));
    }
    if workers.len() > MAX_ROWS {
        text.push_str(&format!(
            "… and {} more workers\n",
            workers.len() - MAX_ROWS
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn page_of(state: serde_json::Value) -> String {
        let state = State::deserialize(&state).unwrap();
        let address = ServerAddress::parse("https://pool.example").unwrap();
        page(&state, &address, Paint::none())
    }

    #[test]
    fn trouble_comes_first_and_is_explained() {
        let page = page_of(json!({
            "server": {"version": "0.3.0", "state": "ready", "uptime_s": 522_244, "jobs_inflight_total": 4},
            "problems": [{
                "kind": "provider_down", "level": "error", "id": "notes", "relay": "Alpha", "hop": "provider",
                "cause": "provider_not_started", "since": "2020-11-27T12:01:40.5Z", "count": 14, "of": 20,
                "text": "ImportError: no module named foo", "todo": "Look at the log of `the relay`.",
            }],
            "mcp": {
                "clients": [
                    {"id": "clock", "state": "up", "inflight": 1, "calls_1m": 1260, "failed_1m": 0, "call_ms_p95": 30.0,
                     "relays": [{"name": "Alpha", "provider": {"status": "reachable"}, "bridge": null}]},
                    {"id": "notes", "state": "provider_down", "inflight": 3, "calls_1m": 20, "failed_1m": 14,
                     "relays": [{"name": "", "relay_id": "12ab", "provider": {"status": "unreachable"}, "bridge": {}}]},
                ],
                "offline": [{"id": "wiki", "since": "2020-11-27T09:12:00Z", "relay": "Beta", "refused_total": 3}],
            },
        }));

        insta::assert_snapshot!(page);
    }

    #[test]
    fn what_is_not_known_is_not_green() {
        let page = page_of(json!({
            "server": {"state": "ready"},
            "mcp": {"clients": [{"id": "a", "status": "idle"}, {"id": "b", "state": "splendid"}]},
        }));

        assert!(page.contains("0 of 2 ids up, 2 unknown"), "{page}");
        assert!(page.contains("older than this command"), "{page}");
        assert!(!page.contains('●'), "{page}");
    }

    #[test]
    fn a_hostile_state_controls_no_terminal_and_fills_none() {
        let hostile = "\u{1b}]0;owned\u{7}\n\u{202e}".repeat(2000);
        let clients: Vec<_> = (0..5000)
            .map(|_| json!({"id": hostile, "state": hostile}))
            .collect();
        let problems: Vec<_> = (0..500)
            .map(|_| json!({"kind": hostile, "text": hostile, "todo": hostile, "since": hostile, "relay": hostile}))
            .collect();

        let page = page_of(json!({
            "server": {"version": hostile, "state": hostile},
            "problems": problems,
            "mcp": {"clients": clients},
        }));

        assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
        assert!(page.lines().count() < 400, "{}", page.lines().count());
        assert!(page.len() < 400_000, "{}", page.len());
    }
}
