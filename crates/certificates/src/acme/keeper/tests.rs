//! The keeper beside a scripted authority: renewals, refusals, restarts, and clocks that jump.

use std::fs;

use super::*;
use crate::acme::scripted_authority::{Refusal, ScriptedAuthority};
use crate::acme::{CheckKind, ExternalAccount};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, a data directory, and the certificates of a server.
struct Site {
    authority: ScriptedAuthority,
    data: tempfile::TempDir,
    certificates: Certificates,
    names: Vec<DomainName>,
}

impl Site {
    async fn new(names: &[&str]) -> Self {
        Self {
            authority: ScriptedAuthority::start().await,
            data: tempfile::tempdir().unwrap(),
            certificates: Certificates::new(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    fn config(&self) -> AcmeConfig {
        AcmeConfig {
            names: self.names.clone(),
            email: None,
            directory: AcmeDirectory::Url(self.authority.url.clone()),
            ca_file: Some(self.authority.ca_file.clone()),
            external_account: None,
            profile: None,
            checks: vec![CheckKind::Http],
        }
    }

    fn open(&self) -> Acme {
        self.open_with(self.config())
    }

    fn open_with(&self, config: AcmeConfig) -> Acme {
        Acme::open(config, self.data.path(), &self.certificates).unwrap()
    }

    /// The server as after a start: nothing in memory is of before.
    fn restarted(&mut self) -> Acme {
        self.certificates = Certificates::new();
        self.open()
    }

    fn folder(&self) -> std::path::PathBuf {
        let folder = AcmeDirectory::Url(self.authority.url.clone()).folder();
        self.data.path().join("acme").join(folder)
    }

    fn error(&self) -> String {
        let status = self.certificates.status();
        let error = status.into_iter().find_map(|it| it.last_error);
        error.map_or_else(String::new, |error| error.text)
    }

    /// The names that a client gets a certificate for.
    fn served(&self) -> Vec<&str> {
        let names = self.names.iter().map(DomainName::as_str);
        names
            .filter(|name| self.certificates.find(Some(name)).is_some())
            .collect()
    }
}

impl Acme {
    /// Makes the next order now, whenever it is due.
    async fn order_now(&mut self) {
        let (_, names) = self.plan.next_order().unwrap();
        self.try_order(&names).await;
    }

    /// The time until the next order.
    fn pause(&self) -> Duration {
        let (at, _) = self.plan.next_order().unwrap();
        at.duration_since(SystemTime::now()).unwrap_or_default()
    }

    /// Asks the authority when the only certificate is to be renewed.
    async fn ask_now(&mut self) {
        let number = self.present[0].number;
        self.ask_renewal(number).await;
    }
}

#[tokio::test]
async fn a_certificate_is_ordered_stored_and_found_again() {
    let mut site = Site::new(&["a.example", "b.example"]).await;
    site.authority.script.lock().checked = Some(site.certificates.clone());
    let mut acme = site.open();
    assert!(!site.certificates.is_ready());
    assert_eq!(site.certificates.status()[0].label, "a.example,b.example");

    acme.order_now().await;

    assert_eq!(site.served(), ["a.example", "b.example"]);
    assert_eq!(site.certificates.status().len(), 1);
    assert!(acme.pause() > 50 * DAY && acme.pause() < 60 * DAY);
    assert!(!site.folder().join("order.json").exists());

    // After a restart the authority is not needed.
    drop(acme);
    let acme = site.restarted();
    assert_eq!(site.served(), ["a.example", "b.example"]);
    assert!(acme.pause() > 50 * DAY);
    assert_eq!(site.authority.ordered(), [["a.example", "b.example"]]);
}

#[cfg(unix)]
#[tokio::test]
async fn every_file_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let site = Site::new(&["a.example"]).await;
    site.open().order_now().await;

    let mut files = vec![];
    for folder in [site.folder(), site.folder().join("certificates")] {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        files.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_file()),
        );
    }
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file:?}");
    }
}

/// Dropping a future at this point leaves what `kill -9` leaves: the files.
#[tokio::test]
async fn an_end_between_order_and_certificate_loses_nothing() {
    let mut site = Site::new(&["a.example"]).await;
    site.authority.script.lock().hangs = true;
    let mut acme = site.open();
    tokio::select! {
        biased;
        () = site.authority.finalized() => {}
        () = acme.order_now() => panic!("it hangs"),
    }
    drop(acme);
    assert!(site.folder().join("order.json").exists());

    site.authority.issue();
    let mut acme = site.restarted();
    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    assert_eq!(site.authority.ordered().len(), 1);
    assert!(!site.folder().join("order.json").exists());
}

#[tokio::test]
async fn an_order_of_before_for_other_names_is_given_up() {
    let mut site = Site::new(&["a.example"]).await;
    site.authority.script.lock().hangs = true;
    let mut acme = site.open();
    tokio::select! {
        biased;
        () = site.authority.finalized() => {}
        () = acme.order_now() => panic!("it hangs"),
    }
    drop(acme);

    site.authority.issue();
    site.names.push("b.example".parse().unwrap());
    let mut acme = site.restarted();
    acme.order_now().await;

    assert_eq!(site.served(), ["a.example", "b.example"]);
    assert_eq!(site.authority.ordered().len(), 2);
}

#[tokio::test]
async fn one_of_two_names_that_fails_takes_the_other_not_down() {
    let site = Site::new(&["a.example", "b.example"]).await;
    site.authority.script.lock().unreachable = vec!["b.example"];
    let mut acme = site.open();

    acme.order_now().await;
    assert!(
        site.error()
            .contains("b.example: nothing answers on the port"),
        "{}",
        site.error()
    );
    assert!(site.served().is_empty());
    acme.order_now().await;
    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    let status = site.certificates.status();
    let labels: Vec<_> = status.iter().map(|it| it.label.as_str()).collect();
    assert_eq!(labels, ["a.example", "b.example"]);

    // It comes back alone, and is one of all from the next order on.
    site.authority.script.lock().unreachable.clear();
    acme.order_now().await;
    assert_eq!(site.served(), ["a.example", "b.example"]);
    acme.order_now().await;
    assert_eq!(site.certificates.status().len(), 1);
    assert_eq!(
        fs::read_dir(site.folder().join("certificates"))
            .unwrap()
            .count(),
        1
    );
    let ordered = site.authority.ordered();
    let names: Vec<usize> = ordered.iter().map(Vec::len).collect();
    assert_eq!(names, [2, 2, 1, 1, 2]);
}

#[tokio::test]
async fn after_a_failed_check_the_other_kind_is_tried() {
    let site = Site::new(&["a.example"]).await;
    site.authority.script.lock().unreachable = vec!["a.example"];
    let checks = vec![CheckKind::TlsAlpn, CheckKind::Http];
    let mut acme = site.open_with(AcmeConfig {
        checks,
        ..site.config()
    });

    for _ in 0..3 {
        acme.order_now().await;
    }

    let script = site.authority.script.lock();
    assert_eq!(script.checks, ["tls-alpn-01", "http-01", "tls-alpn-01"]);
    drop(script);
    assert!(
        site.error().starts_with("tls-alpn-01 of a.example: "),
        "{}",
        site.error()
    );
}

#[tokio::test]
async fn a_rate_limit_is_obeyed_and_shown_in_the_authoritys_words() {
    let mut site = Site::new(&["a.example"]).await;
    let limited = |retry_after| Refusal {
        kind: "rateLimited",
        detail: "too many new orders recently",
        retry_after,
    };
    let mut acme = site.open();
    site.authority.refuse("order", limited(Some("7200")));
    acme.order_now().await;

    assert!(acme.pause() > 2 * HOUR - MINUTE && acme.pause() <= 2 * HOUR);
    assert_eq!(
        site.error(),
        "the order: too many new orders recently (rateLimited)"
    );

    // It holds over a restart, and without an end of its own for an hour.
    drop(acme);
    let mut acme = site.restarted();
    assert!(acme.pause() > 2 * HOUR - MINUTE);
    site.authority.refuse("order", limited(None));
    acme.order_now().await;
    assert!(acme.pause() > HOUR - MINUTE && acme.pause() <= HOUR);
}

#[tokio::test]
async fn an_authority_that_is_away_leaves_the_certificate_in_use() {
    let site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    acme.order_now().await;
    site.authority.refuse(
        "order",
        Refusal {
            kind: "serverInternal",
            detail: "down for maintenance",
            retry_after: None,
        },
    );

    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    assert!(site.error().contains("down for maintenance"));
    assert_eq!(site.certificates.status()[0].failures, 1);
    acme.order_now().await;
    assert_eq!(site.error(), "");
}

/// The authority may lose its accounts, as the one of tests does with its process.
#[tokio::test]
async fn an_account_that_the_authority_lost_is_made_anew() {
    let site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    acme.order_now().await;
    site.authority.refuse(
        "order",
        Refusal {
            kind: "accountDoesNotExist",
            detail: "no such account",
            retry_after: None,
        },
    );

    acme.order_now().await;
    acme.order_now().await;

    assert_eq!(site.error(), "");
    assert_eq!(site.authority.script.lock().accounts.len(), 2);
}

#[tokio::test]
async fn the_account_has_the_settings_of_the_operator() {
    let site = Site::new(&["a.example"]).await;
    let mut acme = site.open_with(AcmeConfig {
        email: Some("me@example.com".to_owned()),
        external_account: Some(ExternalAccount::new("kid-1", "c2VjcmV0").unwrap()),
        ..site.config()
    });

    acme.order_now().await;

    let script = site.authority.script.lock();
    let account = &script.accounts[0];
    assert_eq!(account["contact"][0], "mailto:me@example.com");
    assert!(account["externalAccountBinding"]["signature"].is_string());
    assert_eq!(account["termsOfServiceAgreed"], true);
}

#[tokio::test]
async fn a_profile_is_asked_for_where_the_authority_has_it() {
    let site = Site::new(&["a.example"]).await;
    site.authority.script.lock().profiles = vec!["classic", "shortlived"];
    let with = |profile: &str| AcmeConfig {
        profile: Some(profile.to_owned()),
        ..site.config()
    };

    let mut acme = site.open_with(with("tiny"));
    acme.order_now().await;
    assert!(
        site.error()
            .contains("expected one of: classic, shortlived"),
        "{}",
        site.error()
    );
    assert!(site.authority.ordered().is_empty());

    drop(acme);
    let mut acme = site.open_with(with("shortlived"));
    acme.order_now().await;
    let script = site.authority.script.lock();
    assert_eq!(script.orders[0]["profile"], "shortlived");
}

#[tokio::test]
async fn a_renewal_in_the_authoritys_window_names_its_predecessor() {
    let site = Site::new(&["a.example"]).await;
    let now = SystemTime::now();
    site.authority.script.lock().window = Some((now - 2 * DAY, now - DAY));
    let mut acme = site.open();
    acme.order_now().await;
    assert!(acme.pause() > 50 * DAY);

    acme.ask_now().await;
    assert_eq!(acme.pause(), Duration::ZERO);
    acme.order_now().await;

    let script = site.authority.script.lock();
    let asked = script.asked[0].as_str();
    assert_eq!(script.orders[0]["replaces"], serde_json::Value::Null);
    assert_eq!(script.orders[1]["replaces"], asked);
    let (issuer, serial) = asked.split_once('.').unwrap();
    assert!(!issuer.is_empty() && !serial.is_empty());
}

#[tokio::test]
async fn a_predecessor_that_has_a_successor_is_named_no_more() {
    let site = Site::new(&["a.example"]).await;
    let now = SystemTime::now();
    site.authority.script.lock().window = Some((now - 2 * DAY, now - DAY));
    let mut acme = site.open();
    acme.order_now().await;
    acme.ask_now().await;
    site.authority.refuse(
        "order",
        Refusal {
            kind: "alreadyReplaced",
            detail: "it has a successor",
            retry_after: None,
        },
    );

    acme.order_now().await;
    acme.order_now().await;

    assert_eq!(site.error(), "");
    let orders = site.authority.script.lock().orders.clone();
    assert_eq!(orders.last().unwrap()["replaces"], serde_json::Value::Null);
}

/// With a clock that is a year ahead every certificate has ended; to order another one would be no
/// help, and use up the limits of the authority.
#[tokio::test]
async fn a_wrong_clock_orders_no_second_certificate() {
    let site = Site::new(&["a.example"]).await;
    site.authority.script.lock().not_before = SystemTime::now() - 365 * DAY;
    let mut acme = site.open();

    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    assert!(acme.pause() > 50 * DAY);
}

#[tokio::test]
async fn staging_and_production_never_mix() {
    let site = Site::new(&["a.example"]).await;
    let mut staging = site.open();
    staging.order_now().await;
    assert_eq!(site.served(), ["a.example"]);
    drop(staging);

    let url = format!("{}-production", site.authority.url);
    let production = site.open_with(AcmeConfig {
        directory: AcmeDirectory::Url(url),
        ..site.config()
    });

    assert!(site.served().is_empty());
    assert_eq!(production.pause(), Duration::ZERO);
    let folders = fs::read_dir(site.data.path().join("acme")).unwrap();
    assert_eq!(folders.count(), 2);
}

/// A directory in the place of a file cannot be written, as nothing can on a read-only disk. Another
/// order would be forgotten, and come again with every restart.
#[tokio::test]
async fn nothing_is_ordered_that_cannot_be_remembered() {
    let site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    acme.order_now().await;
    fs::create_dir(site.folder().join("tries.json.new")).unwrap();

    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    assert_eq!(site.authority.ordered().len(), 1);
    assert!(site.error().contains("tries.json"), "{}", site.error());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_stored_is_presented() {
    let mut site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    let certificates = site.folder().join("certificates");
    fs::remove_dir(&certificates).unwrap();
    fs::write(&certificates, "").unwrap();

    acme.order_now().await;
    assert_eq!(site.served(), ["a.example"]);

    // The next run gets it again, by its order.
    drop(acme);
    fs::remove_file(&certificates).unwrap();
    let mut acme = site.restarted();
    assert!(site.served().is_empty());
    acme.order_now().await;
    assert_eq!(site.served(), ["a.example"]);
    assert_eq!(site.authority.ordered().len(), 1);
}

#[tokio::test]
async fn a_broken_certificate_file_is_replaced() {
    let mut site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    acme.order_now().await;
    drop(acme);
    let folder = site.folder().join("certificates");
    let file = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let half = fs::read(&file).unwrap();
    fs::write(&file, &half[..half.len() / 3]).unwrap();

    let mut acme = site.restarted();
    assert!(site.served().is_empty());
    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// The file of before is all that the next start has.
#[tokio::test]
async fn a_certificate_stays_until_its_successor_is_stored() {
    let mut site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    acme.order_now().await;
    site.names.push("b.example".parse().unwrap());
    drop(acme);
    let mut acme = site.restarted();
    let folder = site.folder().join("certificates");
    let files = || fs::read_dir(&folder).unwrap().flatten().map(|it| it.path());
    let before: Vec<_> = files().collect();
    let names = "a.example,b.example";
    let digest = ring::digest::digest(&ring::digest::SHA256, names.as_bytes());
    let digest: String = digest.as_ref()[..4]
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    fs::create_dir(folder.join(format!("a.example-{digest}.pem.new"))).unwrap();

    acme.order_now().await;

    assert_eq!(site.served(), ["a.example", "b.example"]);
    assert!(before[0].exists());
}

#[tokio::test]
async fn refused_nonces_are_no_failure_of_an_order() {
    let site = Site::new(&["a.example"]).await;
    let mut acme = site.open();
    site.authority.refuse(
        "order",
        Refusal {
            kind: "badNonce",
            detail: "refused on purpose",
            retry_after: None,
        },
    );

    acme.order_now().await;

    assert_eq!(site.served(), ["a.example"]);
    assert_eq!(site.certificates.status()[0].failures, 0);
}
