//! What a reload does to each provider: a pure function of the configurations before and after.

use crate::config::ProviderConfig;

/// The source of one provider after the reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is this one of before.
    Keep(usize),
    /// It takes the place of this one of before.
    Replace(usize),
    /// It is new.
    Add,
}

/// Decides where each provider of `after` comes from. What is in no step is removed.
///
/// A provider with an id takes the place of the one with the same id. One without an id, which the
/// server has assigned, is found by its configuration, and those that are left over take the places
/// of each other in their order: the URLs of clients are kept where they can be.
pub(super) fn plan(before: &[&ProviderConfig], after: &[ProviderConfig]) -> Vec<Step> {
    let mut is_free = vec![true; before.len()];
    let mut steps: Vec<Option<Step>> = Vec::with_capacity(after.len());

    for config in after {
        let found = before.iter().zip(&is_free).position(|(other, is_free)| {
            *is_free && (config.is_same_as(other) || config.id.is_some() && config.id == other.id)
        });
        steps.push(found.map(|place| {
            is_free[place] = false;
            if config.is_same_as(before[place]) {
                Step::Keep(place)
            } else {
                Step::Replace(place)
            }
        }));
    }

    let mut assigned = (0..before.len()).filter(|place| before[*place].id.is_none());
    let steps = steps.into_iter().zip(after).map(|(step, config)| {
        let mut without_id = || {
            let is_left = config.id.is_none();
            is_left
                .then(|| assigned.find(|place| is_free[*place]))
                .flatten()
        };
        step.or_else(|| without_id().map(Step::Replace))
            .unwrap_or(Step::Add)
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, Uri};

    use super::*;
    use llamapool_wire::Secret;

    use crate::config::{HttpConfig, ProviderKind};

    fn provider(id: &str, url: &'static str) -> ProviderConfig {
        ProviderConfig {
            id: id.parse().ok(),
            auth_token: None,
            kind: ProviderKind::Http(HttpConfig {
                asks_for_facts: false,
                url: Uri::from_static(url),
                headers: HeaderMap::new(),
                publishes_oauth: false,
                connect_timeout: Duration::from_secs(1),
                probe_interval: Duration::from_secs(1),
                redirect_replay_bytes: 0,
            }),
        }
    }

    fn steps(before: &[ProviderConfig], after: &[ProviderConfig]) -> Vec<Step> {
        plan(&before.iter().collect::<Vec<_>>(), after)
    }

    #[test]
    fn ids_decide_and_the_order_does_not() {
        let before = [provider("a", "http://1"), provider("b", "http://2")];
        let after = [
            provider("c", "http://1"),
            provider("b", "http://2"),
            provider("a", "http://3"),
        ];

        assert_eq!(
            steps(&before, &after),
            [Step::Add, Step::Keep(1), Step::Replace(0)]
        );
        assert_eq!(steps(&before, &before), [Step::Keep(0), Step::Keep(1)]);
    }

    #[test]
    fn a_token_makes_another_provider() {
        let before = [provider("a", "http://1")];
        let mut after = [provider("a", "http://1")];
        after[0].auth_token = Some(Secret::new("t".to_owned()));

        assert_eq!(steps(&before, &after), [Step::Replace(0)]);
    }

    #[test]
    fn assigned_ids_stay_with_their_configuration_or_their_order() {
        let before = [provider("", "http://1"), provider("", "http://2")];

        let turned = [provider("", "http://2"), provider("", "http://1")];
        assert_eq!(steps(&before, &turned), [Step::Keep(1), Step::Keep(0)]);

        let after = [provider("", "http://3"), provider("", "http://1")];
        assert_eq!(steps(&before, &after), [Step::Replace(1), Step::Keep(0)]);

        let more = [
            provider("", "http://3"),
            provider("", "http://4"),
            provider("", "http://5"),
        ];
        assert_eq!(
            steps(&before, &more),
            [Step::Replace(0), Step::Replace(1), Step::Add]
        );
    }
}
