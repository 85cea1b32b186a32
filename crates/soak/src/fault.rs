//! The faults of a window: drawn from its seed, before it begins.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::Millis;

/// A process that faults meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Victim {
    /// The public server.
    Server,
    /// The only relay of the id `plain`.
    RelayPlain,
    /// The first relay of the id `shared`.
    RelaySharedFirst,
    /// The second relay of the id `shared`.
    RelaySharedSecond,
    /// The relay of the two ids whose providers are programs.
    RelayPrograms,
    /// The HTTP provider.
    Provider,
}

impl Victim {
    pub(crate) const ALL: [Self; 6] = [
        Self::Server,
        Self::RelayPlain,
        Self::RelaySharedFirst,
        Self::RelaySharedSecond,
        Self::RelayPrograms,
        Self::Provider,
    ];

    /// Returns the name of the process, with the ids whose sessions it holds.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::RelayPlain => "relay-plain",
            Self::RelaySharedFirst => "relay-shared-first",
            Self::RelaySharedSecond => "relay-shared-second",
            Self::RelayPrograms => "relay-stdio-modern",
            Self::Provider => "provider-plain-shared",
        }
    }
}

/// A connection between two parts, on which a proxy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum EdgeName {
    /// From the callers to the server.
    Callers,
    /// From a relay to the server.
    ToServer(Victim),
    /// From a relay to the HTTP provider.
    ToProvider(Victim),
}

impl EdgeName {
    pub(crate) const ALL: [Self; 8] = [
        Self::Callers,
        Self::ToServer(Victim::RelayPlain),
        Self::ToServer(Victim::RelaySharedFirst),
        Self::ToServer(Victim::RelaySharedSecond),
        Self::ToServer(Victim::RelayPrograms),
        Self::ToProvider(Victim::RelayPlain),
        Self::ToProvider(Victim::RelaySharedFirst),
        Self::ToProvider(Victim::RelaySharedSecond),
    ];
}

/// The treatment of the bytes of one direction by a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Passes them on.
    Pass,
    /// Passes each piece on after this long.
    Delay(Duration),
    /// Reads nothing.
    Freeze,
    /// Reads them and sends nothing; the connection ends with it.
    Swallow,
    /// Passes a few bytes on at a time.
    Trickle,
}

/// The directions that a fault of an edge concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards the end that accepted the connection.
    Up,
    /// Back.
    Down,
    /// Both.
    Both,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`, and a new start after this long.
    Kill(Victim, Duration),
    /// `SIGTERM`, and a new start once the process has ended.
    Terminate(Victim),
    /// `SIGSTOP`, and `SIGCONT` after this long.
    Pause(Victim, Duration),
    /// `kill -9` of one program behind the relay of programs.
    KillProgram,
    /// A restart with the log on a full disk.
    FullDisk(Victim),
    /// No descriptor is left for this long.
    Descriptors(Victim, Duration),
    /// An outsider holds many idle connections to the server for this long.
    Outsider(Duration),
    /// The clock is set by so many seconds, and back after this long.
    Clock(Victim, i64, Duration),
    /// An edge treats its bytes in this way for this long.
    Edge(EdgeName, Traffic, Direction, Duration),
    /// All connections of an edge are cut.
    Cut(EdgeName),
    /// An edge refuses new connections and cuts the open ones, for this long.
    Refuse(EdgeName, Duration),
}

impl Fault {
    /// Returns the kind and where it strikes, for the counts of the report.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Kill(victim, _) => format!("kill {}", victim.name()),
            Self::Terminate(victim) => format!("terminate {}", victim.name()),
            Self::Pause(victim, _) => format!("pause {}", victim.name()),
            Self::KillProgram => "kill program".to_owned(),
            Self::FullDisk(victim) => format!("full disk {}", victim.name()),
            Self::Descriptors(victim, _) => format!("no descriptors {}", victim.name()),
            Self::Outsider(_) => "idle connections server".to_owned(),
            Self::Clock(victim, _, _) => format!("set clock {}", victim.name()),
            Self::Edge(edge, traffic, _, _) => {
                format!("{} {}", traffic_word(*traffic), edge_word(*edge))
            }
            Self::Cut(edge) => format!("cut {}", edge_word(*edge)),
            Self::Refuse(edge, _) => format!("refuse {}", edge_word(*edge)),
        }
    }
}

fn traffic_word(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::Pass => "pass",
        Traffic::Delay(_) => "delay",
        Traffic::Freeze => "freeze",
        Traffic::Swallow => "swallow",
        Traffic::Trickle => "trickle",
    }
}

fn edge_word(edge: EdgeName) -> &'static str {
    match edge {
        EdgeName::Callers => "callers-server",
        EdgeName::ToServer(_) => "relay-server",
        EdgeName::ToProvider(_) => "relay-provider",
    }
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlannedFault {
    /// Milliseconds from the start of the window.
    pub(crate) at: Millis,
    pub(crate) fault: Fault,
}

/// The processes that the faults of a window may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deaths {
    /// All of them.
    AnyProcess,
    /// Providers and programs alone: server and relays grow old, and show what they leak.
    ProvidersAlone,
    /// None, and no other fault.
    None,
}

/// Draws the faults of a window that lasts so many milliseconds.
pub(crate) fn plan(seed: u64, lasting: Millis, deaths: Deaths) -> Vec<PlannedFault> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut planned = Vec::new();
    // A quiet moment comes first: descriptors and memory are compared with those of quiet moments,
    // and a call that no fault meets must end well.
    let mut at = 500;
    if deaths == Deaths::None {
        return planned;
    }
    loop {
        at += rng.random_range(100..1_500);
        if at >= lasting {
            return planned;
        }
        let fault = draw(&mut rng, deaths);
        planned.push(PlannedFault { at, fault });
    }
}

fn draw(rng: &mut StdRng, deaths: Deaths) -> Fault {
    let victim = Victim::ALL[rng.random_range(0..Victim::ALL.len())];
    let edge = EdgeName::ALL[rng.random_range(0..EdgeName::ALL.len())];
    let mortal = match deaths {
        Deaths::AnyProcess => victim,
        Deaths::ProvidersAlone | Deaths::None => Victim::Provider,
    };

    match rng.random_range(0..100) {
        0..12 => Fault::Kill(mortal, pause(rng, 0, 1_000)),
        12..18 => Fault::Terminate(mortal),
        18..26 => Fault::Pause(victim, pause(rng, 50, 800)),
        26..30 => Fault::Pause(victim, pause(rng, 3_000, 5_500)),
        30..38 => Fault::KillProgram,
        38..41 => Fault::FullDisk(mortal),
        41..46 => Fault::Descriptors(victim, pause(rng, 300, 2_000)),
        46..48 => Fault::Outsider(pause(rng, 500, 3_000)),
        48..53 => {
            let seconds = [-7_200, -60, 60, 3_600, 864_000];
            let offset = seconds[rng.random_range(0..seconds.len())];
            Fault::Clock(victim, offset, pause(rng, 500, 4_000))
        }
        53..63 => Fault::Cut(edge),
        63..67 => Fault::Refuse(edge, pause(rng, 100, 2_000)),
        _ => {
            let traffic = match rng.random_range(0..4) {
                0 => Traffic::Delay(pause(rng, 20, 400)),
                1 => Traffic::Freeze,
                2 => Traffic::Swallow,
                _ => Traffic::Trickle,
            };
            let directions = [Direction::Up, Direction::Down, Direction::Both];
            let direction = directions[rng.random_range(0..directions.len())];
            Fault::Edge(edge, traffic, direction, pause(rng, 100, 5_000))
        }
    }
}

fn pause(rng: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.random_range(least..=most))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_faults_again_and_another_draws_others() {
        let first = plan(7, 60_000, Deaths::AnyProcess);

        assert!(first.len() > 30, "{}", first.len());
        assert_eq!(first, plan(7, 60_000, Deaths::AnyProcess));
        assert_ne!(first, plan(8, 60_000, Deaths::AnyProcess));
    }

    #[test]
    fn every_kind_of_fault_is_drawn() {
        let planned = plan(1, 10_000_000, Deaths::AnyProcess);

        let labels = planned.iter().map(|it| it.fault.label());
        let kinds: BTreeSet<String> = labels
            .map(|label| label.rsplit_once(' ').map(|it| it.0.to_owned()).unwrap())
            .collect();

        let expected = [
            "cut",
            "delay",
            "freeze",
            "full disk",
            "idle connections",
            "kill",
            "no descriptors",
            "pause",
            "refuse",
            "set clock",
            "swallow",
            "terminate",
            "trickle",
        ];
        assert_eq!(kinds, expected.map(str::to_owned).into());
    }

    #[test]
    fn servers_and_relays_live_where_providers_alone_may_die() {
        let planned = plan(1, 1_000_000, Deaths::ProvidersAlone);

        let ended: BTreeSet<Victim> = planned
            .iter()
            .filter_map(|it| match it.fault {
                Fault::Kill(victim, _) | Fault::Terminate(victim) | Fault::FullDisk(victim) => {
                    Some(victim)
                }
                _ => None,
            })
            .collect();

        assert_eq!(ended, [Victim::Provider].into());
    }
}
