//! Patterns of model names.

/// A list of patterns: `*` stands for any text, `!` before a pattern excludes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    includes: Vec<String>,
    excludes: Vec<String>,
}

impl Patterns {
    pub(crate) fn new(patterns: &[String]) -> Self {
        let mut list = Self::default();
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(excluded) => list.excludes.push(excluded.to_owned()),
                None => list.includes.push(pattern.clone()),
            }
        }
        list
    }

    /// Returns whether a name is included, or nothing is, and it is not excluded.
    pub(crate) fn allows(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.includes.is_empty() || any(&self.includes)) && !any(&self.excludes)
    }
}

/// Returns whether a name is one of a pattern. Linear in the name for each `*`: no backtracking beyond
/// the last one.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };

    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let yes = [
            ("*", ""),
            ("qwen*", "qwen3:8b"),
            ("*:8b", "qwen3:8b"),
            ("q*3*b", "qwen3:8b"),
        ];
        let no = [
            ("qwen", "qwen3"),
            ("a*a", "a"),
            ("*:8b", "qwen3:8b-q4"),
            ("q*4*b", "qwen3:8b"),
        ];

        for (pattern, name) in yes {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in no {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn an_exclusion_wins_over_an_inclusion() {
        let patterns = Patterns::new(&["llama*".into(), "!*:70b".into()]);
        let only_excluded = Patterns::new(&["!secret".into()]);

        assert!(patterns.allows("llama3:8b"));
        assert!(!patterns.allows("llama3:70b"));
        assert!(!patterns.allows("qwen3"));
        assert!(only_excluded.allows("qwen3"));
        assert!(!only_excluded.allows("secret"));
        assert!(Patterns::default().allows("anything"));
    }
}
