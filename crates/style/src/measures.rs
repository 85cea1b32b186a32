//! The list of measures: each with its name, its bound, and the places that count for it.

use crate::counting::{
    blank_lines, body_lines, code, count, functions, lines, lines_of, long_files, long_test_names,
    number, percentile, phrases, place, share, shared_names, sum, test_cases, tests, tokens, total,
    unnamed_errors, unsafe_place,
};
use crate::names;
use crate::sources::Package;

use Bound::{AtLeast, AtMost};
use Scope::{Each, Sum};

/// The most lines of a function.
const MAX_FUNCTION_LINES: usize = 80;
/// The most tokens of a function: nothing is gained by putting more on a line.
const MAX_TOKENS: usize = 600;
/// The most tokens that all but one in a hundred functions have.
const MAX_P99_TOKENS: usize = 400;
/// The most arguments of a function, `self` included.
const MAX_ARGUMENTS: usize = 5;
/// The most lines of a file without its tests.
const MAX_FILE_LINES: usize = 600;
/// The lines of a file to stay below.
const LONG_FILE_LINES: usize = 350;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Measure {
    /// The row's name.
    pub name: &'static str,
    /// The bound, where there is one.
    pub bound: Bound,
    /// The number of decimals that are shown.
    pub decimals: usize,
    pub(crate) value: fn(&[&Package]) -> f64,
    pub(crate) places: fn(&Package) -> Vec<Place>,
}

/// The bound of a measure.
#[derive(Clone, Copy)]
pub enum Bound {
    /// The measure is only shown.
    None,
    /// At most this.
    AtMost(f64, Scope),
    /// At least this.
    AtLeast(f64, Scope),
}

/// The sources to which a bound applies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Each package for itself.
    Each,
    /// All packages together: percentiles of a small package are single functions.
    Sum,
}

/// An exception: a package may be out of one bound, up to a value.
#[derive(Clone, Copy)]
pub struct Allowed {
    /// The package's name, without the prefix that all of ours share.
    pub package: &'static str,
    /// The measure's name.
    pub measure: &'static str,
    /// The value that takes the place of the bound.
    pub value: f64,
    /// The reason why the bound is not kept.
    pub reason: &'static str,
}

impl Allowed {
    pub(crate) fn applies_to(&self, package: &str, measure: &Measure) -> bool {
        self.package == package && self.measure == measure.name
    }
}

/// A place in the sources that a measure counted.
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Measure {
    const fn new(name: &'static str, value: fn(&[&Package]) -> f64) -> Measure {
        Measure {
            name,
            bound: Bound::None,
            decimals: 0,
            value,
            places: |_| Vec::new(),
        }
    }

    const fn decimals(mut self, decimals: usize) -> Measure {
        self.decimals = decimals;
        self
    }

    const fn bound(mut self, bound: Bound) -> Measure {
        self.bound = bound;
        self
    }

    const fn places(mut self, places: fn(&Package) -> Vec<Place>) -> Measure {
        self.places = places;
        self
    }
}

/// All measures, in the order of the table.
pub const MEASURES: &[Measure] = &[
    Measure::new("comments: words", |all| sum(all, |p| p.prose.words)),
    Measure::new("comments: % opening with what, who, …", |all| {
        share(all, 100.0, |p| p.prose.openers.len(), |p| p.prose.sentences)
    })
    .decimals(1)
    .bound(AtMost(5.0, Each))
    .places(|package| phrases(&package.prose.openers)),
    Measure::new("comments: ‰ say, tell, hear, know", |all| {
        share(all, 1000.0, |p| p.prose.speech.len(), |p| p.prose.words)
    })
    .decimals(1)
    .bound(AtMost(1.5, Each))
    .places(|package| phrases(&package.prose.speech)),
    Measure::new("comments: ‰ whoever, nobody, …", |all| {
        share(all, 1000.0, |p| p.prose.persons.len(), |p| p.prose.words)
    })
    .decimals(1)
    .bound(AtMost(0.5, Each))
    .places(|package| phrases(&package.prose.persons)),
    Measure::new("functions", |all| sum(all, |p| p.code.len())),
    Measure::new("function lines: median", |all| percentile(all, 50, lines)),
    Measure::new("function lines: p90", |all| percentile(all, 90, lines)),
    Measure::new("function lines: p99", |all| percentile(all, 99, lines)),
    Measure::new("function lines: most", |all| percentile(all, 100, lines))
        .bound(AtMost(MAX_FUNCTION_LINES as f64, Each))
        .places(|package| functions(&package.code, |f| f.lines > MAX_FUNCTION_LINES)),
    Measure::new("function tokens: median", |all| percentile(all, 50, tokens)),
    Measure::new("function tokens: p90", |all| percentile(all, 90, tokens)),
    Measure::new("function tokens: p99", |all| percentile(all, 99, tokens))
        .bound(AtMost(MAX_P99_TOKENS as f64, Sum))
        .places(|package| functions(&package.code, |f| f.tokens > MAX_P99_TOKENS)),
    Measure::new("function tokens: most", |all| percentile(all, 100, tokens))
        .bound(AtMost(MAX_TOKENS as f64, Each))
        .places(|package| functions(&package.code, |f| f.tokens > MAX_TOKENS)),
    Measure::new("tokens per line of a function", |all| {
        share(
            all,
            1.0,
            |p| total(&p.code, tokens),
            |p| total(&p.code, lines),
        )
    })
    .decimals(1),
    Measure::new("% blank lines in longer functions", |all| {
        share(
            all,
            100.0,
            |p| blank_lines(&p.code),
            |p| body_lines(&p.code),
        )
    })
    .bound(AtLeast(2.0, Sum))
    .decimals(1),
    Measure::new("% blank lines in longer functions: tests", |all| {
        share(
            all,
            100.0,
            |p| blank_lines(&p.tests),
            |p| body_lines(&p.tests),
        )
    })
    .bound(AtLeast(5.0, Sum))
    .decimals(1),
    Measure::new("arguments: most", |all| {
        percentile(all, 100, |f| f.arguments)
    })
    .bound(AtMost(MAX_ARGUMENTS as f64, Each))
    .places(|package| functions(&package.code, |f| f.arguments > MAX_ARGUMENTS)),
    Measure::new("let (a, b) = (x, y)", |all| {
        count(all, code, |f| &f.tuple_lets)
    })
    .bound(AtMost(0.0, Each))
    .places(|package| lines_of(&package.code, |f| &f.tuple_lets)),
    Measure::new("let (a, b) = (x, y): tests", |all| {
        count(all, tests, |f| &f.tuple_lets)
    })
    .bound(AtMost(0.0, Each))
    .places(|package| lines_of(&package.tests, |f| &f.tuple_lets)),
    Measure::new("match on a bool", |all| {
        count(all, code, |f| &f.bool_matches)
    })
    .bound(AtMost(0.0, Each))
    .places(|package| lines_of(&package.code, |f| &f.bool_matches)),
    Measure::new("match on a bool: tests", |all| {
        count(all, tests, |f| &f.bool_matches)
    })
    .bound(AtMost(0.0, Each))
    .places(|package| lines_of(&package.tests, |f| &f.bool_matches)),
    Measure::new("unwrap, panic!", |all| count(all, code, |f| &f.panics))
        .bound(AtMost(0.0, Each))
        .places(|package| lines_of(&package.code, |f| &f.panics)),
    Measure::new("expect", |all| count(all, code, |f| &f.expects))
        .bound(AtMost(0.0, Each))
        .places(|package| lines_of(&package.code, |f| &f.expects)),
    Measure::new("unsafe", |all| sum(all, |p| p.names.unsafe_lines.len()))
        .bound(AtMost(0.0, Each))
        .places(|package| {
            package
                .names
                .unsafe_lines
                .iter()
                .map(unsafe_place)
                .collect()
        }),
    Measure::new("test cases", |all| sum(all, |p| test_cases(p).count())),
    Measure::new("test names: longest", |all| {
        let names = all.iter().flat_map(|p| test_cases(p));
        number(names.map(|f| f.name.len()).max().unwrap_or(0))
    }),
    Measure::new("test names over 60 characters", |all| {
        sum(all, |p| long_test_names(p).len())
    })
    .bound(AtMost(0.0, Each))
    .places(long_test_names),
    Measure::new("files", |all| sum(all, |p| p.files.len())),
    Measure::new("files over 350 lines", |all| {
        sum(all, |p| long_files(p, LONG_FILE_LINES).len())
    })
    .places(|package| long_files(package, LONG_FILE_LINES)),
    Measure::new("files over 600 lines", |all| {
        sum(all, |p| long_files(p, MAX_FILE_LINES).len())
    })
    .bound(AtMost(0.0, Each))
    .places(|package| long_files(package, MAX_FILE_LINES)),
    Measure::new("% files with //!", |all| {
        let without = |p: &Package| p.files.iter().filter(|file| !file.has_module_doc).count();
        100.0 - share(all, 100.0, without, |p| p.files.len())
    })
    .bound(AtLeast(100.0, Each))
    .places(|package| {
        let without = package.files.iter().filter(|file| !file.has_module_doc);
        without
            .map(|file| place(&file.path, 1, "no `//!`"))
            .collect()
    }),
    Measure::new("% public items with documentation", |all| {
        let undocumented = |p: &Package| p.names.public - p.names.documented;
        100.0 - share(all, 100.0, undocumented, |p| p.names.public)
    })
    .bound(AtLeast(100.0, Each)),
    Measure::new("types", |all| sum(all, |p| p.names.types.len())),
    Measure::new("type names with several meanings", |all| {
        number(shared_names(all).len())
    }),
    Measure::new("errors", |all| sum(all, |p| p.names.errors().count())),
    Measure::new("errors without Error in their name", |all| {
        sum(all, |p| unnamed_errors(p).len())
    })
    .bound(AtMost(0.0, Each))
    .places(unnamed_errors),
    Measure::new("of these No…, Not…", |all| {
        sum(all, |p| {
            p.names
                .errors()
                .filter(|error| names::is_negated(&error.name))
                .count()
        })
    }),
];
