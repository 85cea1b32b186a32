//! Counts over packages, and the places that were counted.

use crate::functions::Function;
use crate::measures::Place;
use crate::names::TypeName;
use crate::prose::Phrase;
use crate::sources::Package;

/// Functions with fewer lines need no blank line.
const AIRY_FROM: usize = 9;
/// The most characters of a test's name.
const MAX_TEST_NAME: usize = 60;

pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

pub(crate) fn sum(all: &[&Package], count: impl Fn(&Package) -> usize) -> f64 {
    number(all.iter().map(|package| count(package)).sum())
}

/// Returns `factor × part / whole`, or 0 where there is nothing.
pub(crate) fn share(
    all: &[&Package],
    factor: f64,
    part: impl Fn(&Package) -> usize,
    whole: impl Fn(&Package) -> usize,
) -> f64 {
    let whole = sum(all, whole);
    if whole == 0.0 {
        0.0
    } else {
        factor * sum(all, part) / whole
    }
}

pub(crate) fn percentile(all: &[&Package], percent: usize, size: fn(&Function) -> usize) -> f64 {
    let functions = all.iter().flat_map(|package| &package.code);
    let mut sizes: Vec<usize> = functions.map(size).collect();
    sizes.sort_unstable();
    let index = (sizes.len() * percent).div_ceil(100).saturating_sub(1);
    number(sizes.get(index).copied().unwrap_or(0))
}

pub(crate) fn count(
    all: &[&Package],
    functions: fn(&Package) -> &[Function],
    lines: fn(&Function) -> &[usize],
) -> f64 {
    sum(all, |package| {
        functions(package).iter().map(|f| lines(f).len()).sum()
    })
}

pub(crate) fn total(functions: &[Function], size: fn(&Function) -> usize) -> usize {
    functions.iter().map(size).sum()
}

pub(crate) fn code(package: &Package) -> &[Function] {
    &package.code
}

pub(crate) fn tests(package: &Package) -> &[Function] {
    &package.tests
}

pub(crate) fn lines(function: &Function) -> usize {
    function.lines
}

pub(crate) fn tokens(function: &Function) -> usize {
    function.tokens
}

pub(crate) fn body_lines(functions: &[Function]) -> usize {
    longer(functions).map(|function| function.body_lines).sum()
}

pub(crate) fn blank_lines(functions: &[Function]) -> usize {
    longer(functions).map(|function| function.blank_lines).sum()
}

fn longer(functions: &[Function]) -> impl Iterator<Item = &Function> {
    functions
        .iter()
        .filter(|function| function.lines >= AIRY_FROM)
}

pub(crate) fn test_cases(package: &Package) -> impl Iterator<Item = &Function> {
    package
        .tests
        .iter()
        .filter(|function| function.is_test_case)
}

// --- Places ---

pub(crate) fn place(path: &str, line: usize, text: &str) -> Place {
    Place {
        path: path.to_owned(),
        line,
        text: text.to_owned(),
    }
}

pub(crate) fn phrases(phrases: &[Phrase]) -> Vec<Place> {
    phrases
        .iter()
        .map(|phrase| place(&phrase.path, phrase.line, &phrase.text))
        .collect()
}

pub(crate) fn functions(functions: &[Function], is_over: fn(&Function) -> bool) -> Vec<Place> {
    functions
        .iter()
        .filter(|function| is_over(function))
        .map(function_place)
        .collect()
}

fn function_place(function: &Function) -> Place {
    let Function {
        name,
        lines,
        tokens,
        arguments,
        ..
    } = function;
    let text = format!("{name}: {lines} lines, {tokens} tokens, {arguments} arguments");
    place(&function.path, function.line, &text)
}

pub(crate) fn lines_of(functions: &[Function], lines: fn(&Function) -> &[usize]) -> Vec<Place> {
    functions
        .iter()
        .flat_map(|function| {
            let line_place = |line: &usize| place(&function.path, *line, &function.name);
            lines(function).iter().map(line_place)
        })
        .collect()
}

pub(crate) fn long_test_names(package: &Package) -> Vec<Place> {
    let long = |function: &&Function| function.name.len() > MAX_TEST_NAME;
    test_cases(package)
        .filter(long)
        .map(function_place)
        .collect()
}

pub(crate) fn unsafe_place((path, line): &(String, usize)) -> Place {
    place(path, *line, "unsafe")
}

pub(crate) fn long_files(package: &Package, most: usize) -> Vec<Place> {
    package
        .files
        .iter()
        .filter(|file| file.lines > most)
        .map(|file| place(&file.path, 1, &format!("{} lines", file.lines)))
        .collect()
}

pub(crate) fn unnamed_errors(package: &Package) -> Vec<Place> {
    package
        .names
        .errors()
        .filter(|error| !error.name.ends_with("Error"))
        .map(|error| place(&error.path, error.line, &error.name))
        .collect()
}

/// Returns the names of types that are defined in several files, with those files.
pub(crate) fn shared_names<'a>(all: &[&'a Package]) -> Vec<(&'a str, Vec<&'a TypeName>)> {
    let mut types: Vec<&TypeName> = all
        .iter()
        .flat_map(|package| &package.names.types)
        .collect();
    types.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    types
        .chunk_by(|a, b| a.name == b.name)
        .filter(|same| same.len() > 1)
        .map(|same| (same[0].name.as_str(), same.to_vec()))
        .collect()
}
