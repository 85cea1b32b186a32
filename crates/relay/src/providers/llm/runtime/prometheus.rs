//! Values out of metrics in the text format of Prometheus.

/// Returns the sum of a metric over all its labels, `None` if there is none of this name.
pub(super) fn sum(metrics: &str, name: &str) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            // A label may contain braces; the value has none.
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        value.is_finite().then_some(value)
    });
    values.reduce(|sum, value| sum + value)
}

/// Returns the sum of a metric that counts things.
pub(super) fn count(metrics: &str, name: &str) -> Option<u32> {
    // Saturates where the number is absurd.
    sum(metrics, name).map(|value| value.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_over_their_labels() {
        let metrics = "# HELP a:running Requests.\n# TYPE a:running gauge\n\
            a:running{model_name=\"x}y\",engine=\"0\"} 3.0\na:running{engine=\"1\"} 1.0 1700000\n\
            a:running_total 9\nb 2\nc nan\n";

        assert_eq!(count(metrics, "a:running"), Some(4));
        assert_eq!(count(metrics, "b"), Some(2));
        assert_eq!(count(metrics, "c"), None);
        assert_eq!(count(metrics, "a:waiting"), None);
    }
}
