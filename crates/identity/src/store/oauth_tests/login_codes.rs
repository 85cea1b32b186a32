//! One-time codes.

use super::*;

#[test]
fn a_one_time_code_is_used_once_within_ten_minutes() {
    let mut place = Place::new();
    let owner = Approver::Owner;
    let code = place.store.create_login_code(&owner, at(0)).unwrap();
    let late = place.store.create_login_code(&owner, at(0)).unwrap();

    assert_eq!(place.store.use_login_code(&code, at(599)).unwrap(), owner);

    for (code, now) in [(&code, 599), (&late, 600)] {
        let error = place.store.use_login_code(code, at(now)).unwrap_err();
        let invalid = matches!(error, LoginStepError::Refused(LoginCodeError::Invalid));
        assert!(invalid, "{error}");
    }
}

#[test]
fn a_one_time_code_is_refused_after_five_wrong_tries() {
    let mut place = Place::new();
    let code = place
        .store
        .create_login_code(&Approver::Owner, at(0))
        .unwrap();
    let other = place
        .store
        .create_login_code(&Approver::Owner, at(0))
        .unwrap();
    let wrong = |last: &str| LoginCode::parse(&format!("{}{last}", &code.expose()[..8])).unwrap();
    let lasts = ["0", "1", "2", "3", "4", "5", "6"];
    let wrong = lasts.map(wrong).into_iter();
    let wrong = wrong
        .filter(|wrong| wrong.digest() != code.digest())
        .take(5);

    for wrong in wrong {
        assert!(place.store.use_login_code(&wrong, at(1)).is_err());
    }

    assert!(place.store.use_login_code(&code, at(1)).is_err());
    assert!(
        place.store.use_login_code(&other, at(1)).is_ok(),
        "another is not touched"
    );
}

#[test]
fn one_time_codes_are_bounded_and_make_room() {
    let mut place = Place::new();
    for _ in 0..100 {
        place
            .store
            .create_login_code(&Approver::Owner, at(0))
            .unwrap();
    }

    let full = place.store.create_login_code(&Approver::Owner, at(599));

    assert!(matches!(full, Err(StoreError::TooManyLoginCodes)));
    assert!(
        place
            .store
            .create_login_code(&Approver::Owner, at(600))
            .is_ok()
    );
}

#[test]
fn ten_uses_of_a_one_time_code_at_once_are_one() {
    let mut place = Place::new();
    let code = place
        .store
        .create_login_code(&Approver::Owner, at(0))
        .unwrap();

    let results = at_once(&place.path, |store| {
        store.use_login_code(&code, at(1)).is_ok()
    });

    assert_eq!(results.iter().filter(|is_ok| **is_ok).count(), 1);
}
