//! Writes the table of measures, and lists the places that count for them.

use std::fmt::Write as _;

use crate::counting::shared_names;
use crate::measures::{Allowed, Bound, MEASURES, Measure, Place, Scope};
use crate::sources::Package;

/// The name of the column over all packages.
const ALL: &str = "all";
/// The most places that are listed for one bound.
const MAX_PLACES: usize = 10;

/// Returns the table: a row for each measure, a column for each package, and one for all.
pub fn table(packages: &[Package]) -> String {
    let columns = columns(packages);
    let name_width = MEASURES.iter().map(|measure| width(measure.name)).max();
    let name_width = name_width.unwrap_or(0);

    let mut table = format!("{:name_width$}   bound", "");
    for (name, _) in &columns {
        let _ = write!(table, " {name:>column$}", column = column_width(name));
    }
    table.push('\n');
    for measure in MEASURES {
        let padding = " ".repeat(name_width - width(measure.name));
        let _ = write!(table, "{}{padding} {:>7}", measure.name, bound(measure));
        for (name, packages) in &columns {
            let value = (measure.value)(packages);
            let column = column_width(name);
            let decimals = measure.decimals;
            let _ = write!(table, " {value:>column$.decimals$}");
        }
        table.push('\n');
    }
    table
}

/// Returns a text for each measure that is out of its bound, with the places that count for it.
pub fn violations(packages: &[Package], exceptions: &[Allowed]) -> Vec<String> {
    let mut found = Vec::new();
    for measure in MEASURES {
        for (name, packages) in columns(packages) {
            let value = (measure.value)(&packages);
            if !is_out(measure, name, value) {
                continue;
            }

            let is_allowed = exceptions
                .iter()
                .filter(|exception| exception.applies_to(name, measure))
                .any(|exception| is_within(measure, value, exception.value));
            if !is_allowed {
                found.push(violation(measure, name, value, &packages));
            }
        }
    }

    found
}

/// Returns a text for each exception whose bound is kept: it can be removed.
pub fn unneeded(packages: &[Package], exceptions: &[Allowed]) -> Vec<String> {
    let is_needed = |exception: &Allowed| {
        MEASURES.iter().any(|measure| {
            columns(packages).iter().any(|(name, packages)| {
                exception.applies_to(name, measure)
                    && is_out(measure, name, (measure.value)(packages))
            })
        })
    };
    exceptions
        .iter()
        .filter(|exception| !is_needed(exception))
        .map(|exception| format!("{}: {}", exception.package, exception.measure))
        .collect()
}

/// Returns true when the measure has a bound for this column and the value is out of it.
fn is_out(measure: &Measure, column: &str, value: f64) -> bool {
    let (bound, scope) = match measure.bound {
        Bound::None => return false,
        Bound::AtMost(bound, scope) | Bound::AtLeast(bound, scope) => (bound, scope),
    };
    let applies = match scope {
        Scope::Each => column != ALL,
        Scope::Sum => column == ALL,
    };
    applies && !is_within(measure, value, bound)
}

fn is_within(measure: &Measure, value: f64, bound: f64) -> bool {
    match measure.bound {
        Bound::None => true,
        Bound::AtMost(..) => value <= bound,
        Bound::AtLeast(..) => value >= bound,
    }
}

fn violation(measure: &Measure, column: &str, value: f64, packages: &[&Package]) -> String {
    let value = format!("{value:.decimals$}", decimals = measure.decimals);
    let mut text = format!(
        "{column}: {}: {value}, bound {}",
        measure.name,
        bound(measure)
    );

    let places = packages
        .iter()
        .flat_map(|package| (measure.places)(package));
    let mut places: Vec<Place> = places.collect();
    let more = places.len().saturating_sub(MAX_PLACES);
    places.truncate(MAX_PLACES);
    write_places(&mut text, places.into_iter());
    if more > 0 {
        let _ = write!(text, "\n  … and {more} more");
    }
    text
}

/// Lists every place that counts for a measure in files whose path contains the text.
pub fn findings_below(packages: &[Package], path: &str) -> String {
    let mut list = String::new();
    for measure in MEASURES {
        let places = packages
            .iter()
            .flat_map(|package| (measure.places)(package));
        let mut places = places.filter(|place| place.path.contains(path)).peekable();
        if places.peek().is_some() {
            let _ = write!(list, "\n{}", measure.name);
            write_places(&mut list, places);
            list.push('\n');
        }
    }

    list.push_str("\ntype names with several meanings\n");
    let all: Vec<&Package> = packages.iter().collect();
    for (name, types) in shared_names(&all) {
        let paths: Vec<&str> = types.iter().map(|name| name.path.as_str()).collect();
        if paths.iter().any(|found| found.contains(path)) {
            let _ = writeln!(list, "  {name}: {}", paths.join(", "));
        }
    }
    list
}

fn write_places(line: &mut String, places: impl Iterator<Item = Place>) {
    for Place {
        path,
        line: number,
        text,
    } in places
    {
        let _ = write!(line, "\n  {path}:{number}: {text}");
    }
}

fn columns(packages: &[Package]) -> Vec<(&str, Vec<&Package>)> {
    let mut columns: Vec<_> = packages
        .iter()
        .map(|package| (package.name.as_str(), vec![package]))
        .collect();
    columns.push((ALL, packages.iter().collect()));
    columns
}

fn column_width(name: &str) -> usize {
    width(name).max(6)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn bound(measure: &Measure) -> String {
    match measure.bound {
        Bound::None => String::new(),
        Bound::AtMost(bound, _) => format!("≤ {bound}"),
        Bound::AtLeast(bound, _) => format!("≥ {bound}"),
    }
}
