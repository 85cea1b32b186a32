//! Values that only workers have: kinds of runtimes, patterns and aliases of models, weights.

use llamapool_relay::{ModelAlias, ModelPatterns, RuntimeKind, UpstreamStream};
use llamapool_settings::value::{expected, items};
use llamapool_settings::{Syntax, ValueError, ValueType};

use crate::settings::value::{is_model_name, model_patterns};

/// The most calls at once that can be set.
const MAX_CONCURRENT_CALLS: u32 = 65_536;
/// The bounds of a weight.
const WEIGHTS: std::ops::RangeInclusive<f64> = 0.01..=100.0;

/// The kind of a runtime, `None` for finding out.
pub(super) const STYLE: ValueType<Option<RuntimeKind>> = ValueType {
    syntax: Syntax::Choice("auto|ollama|llamacpp|vllm|sglang|lmstudio|openai"),
    parse: style,
};
/// A number of calls at once, `None` for what the runtime reports.
pub(super) const CONCURRENCY: ValueType<Option<u32>> = ValueType {
    syntax: Syntax::Count,
    parse: concurrency,
};
/// A number of inputs, 0 for any.
pub(super) const INPUTS: ValueType<u32> = ValueType {
    syntax: Syntax::Count,
    parse: |text| match text.trim().parse() {
        Ok(count) => Ok(count),
        Err(_) => expected("a whole number, 0 or more"),
    },
};
/// Patterns of names of models.
pub(super) const PATTERNS: ValueType<ModelPatterns> = ValueType {
    syntax: Syntax::List,
    parse: patterns,
};
/// Further names of models.
pub(super) const ALIASES: ValueType<Vec<ModelAlias>> = ValueType {
    syntax: Syntax::List,
    parse: aliases,
};
/// A weight, in thousandths.
pub(super) const WEIGHT: ValueType<u32> = ValueType {
    syntax: Syntax::Text,
    parse: weight,
};
/// The form in which answers are asked for.
pub(super) const UPSTREAM: ValueType<UpstreamStream> = ValueType {
    syntax: Syntax::Choice("auto|always|as-asked"),
    parse: |text| match text.trim().to_ascii_lowercase().as_str() {
        "auto" => Ok(UpstreamStream::Auto),
        "always" => Ok(UpstreamStream::Always),
        "as-asked" => Ok(UpstreamStream::AsAsked),
        _ => expected("auto, always or as-asked"),
    },
};

fn style(text: &str) -> Result<Option<RuntimeKind>, ValueError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "auto" => Ok(None),
        "ollama" => Ok(Some(RuntimeKind::Ollama)),
        "llamacpp" => Ok(Some(RuntimeKind::LlamaCpp)),
        "vllm" => Ok(Some(RuntimeKind::Vllm)),
        "sglang" => Ok(Some(RuntimeKind::Sglang)),
        "lmstudio" => Ok(Some(RuntimeKind::LmStudio)),
        "openai" => Ok(Some(RuntimeKind::OpenAi)),
        _ => expected("auto, ollama, llamacpp, vllm, sglang, lmstudio or openai"),
    }
}

fn concurrency(text: &str) -> Result<Option<u32>, ValueError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    match text.parse() {
        Ok(count) if (1..=MAX_CONCURRENT_CALLS).contains(&count) => Ok(Some(count)),
        _ => expected(format!(
            "auto, or a whole number, 1 to {MAX_CONCURRENT_CALLS}"
        )),
    }
}

fn patterns(text: &str) -> Result<ModelPatterns, ValueError> {
    Ok(ModelPatterns::new(model_patterns(text)?))
}

/// Parses aliases, separated by commas or one a line.
fn aliases(text: &str) -> Result<Vec<ModelAlias>, ValueError> {
    let aliases = text.lines().flat_map(items).map(|item| {
        let (alias, model) = item.split_once('=')?;
        let names = [alias.trim(), model.trim()];
        names
            .iter()
            .all(|name| is_model_name(name))
            .then(|| ModelAlias {
                alias: names[0].to_owned(),
                model: names[1].to_owned(),
            })
    });
    match aliases.collect() {
        Some(aliases) => Ok(aliases),
        None => expected("ALIAS=MODEL, as in gpt-4o=qwen3:8b"),
    }
}

fn weight(text: &str) -> Result<u32, ValueError> {
    match text.trim().parse::<f64>() {
        // Within its bounds it fits.
        Ok(weight) if WEIGHTS.contains(&weight) => Ok((weight * 1000.0).round() as u32),
        _ => expected(format!(
            "a number, {} to {}",
            WEIGHTS.start(),
            WEIGHTS.end()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_pairs_of_names() {
        let found = aliases("gpt-4o=qwen3:8b, a = b\nc=d=e").unwrap();

        let found: Vec<_> = found
            .iter()
            .map(|it| (it.alias.as_str(), it.model.as_str()))
            .collect();
        assert_eq!(found, [("gpt-4o", "qwen3:8b"), ("a", "b"), ("c", "d=e")]);
        for bad in ["a", "=b", "a=", "a=b c", "a=b,,c"] {
            assert!(aliases(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weights_and_numbers_have_bounds() {
        assert_eq!(weight("1.0"), Ok(1000));
        assert_eq!(weight("0.5"), Ok(500));
        assert_eq!(concurrency("auto"), Ok(None));
        assert_eq!(concurrency("8"), Ok(Some(8)));

        for bad in ["0", "-1", "101", "nan", "x"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "x", "65537"] {
            assert!(concurrency(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_have_no_spaces() {
        assert!(patterns("qwen*,!*embed*").is_ok());
        assert!(patterns("a b").is_err());
        assert!(patterns("!").is_err());
    }
}
