//! The order of sources, and what is wrong with some.

use super::*;
use crate::example::{
    GROUP_LIMIT, GROUP_NAME, HOSTS, ITEM_COMMAND, ITEM_HEADERS, ITEM_TOKEN, ITEM_URL, KEY, LIMIT,
    PROXY, SCHEMA, VARIABLES,
};
use crate::setting::flag_name;

/// The sources of one process in a test, by canonical names, aliases or as TOML.
#[derive(Default)]
struct Given<'a> {
    flags: &'a [(&'a str, &'a str)],
    environment: &'a [(&'a str, &'a str)],
    file: Option<&'a str>,
}

impl Given<'_> {
    fn collect(&self) -> Result<Sources, SettingsError> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        let mut environment = owned(self.environment);
        if let Some(text) = self.file {
            std::fs::write(file.path(), text).unwrap();
            environment.push(("CONFIG_FILE".into(), file.path().to_str().unwrap().into()));
        }
        let flags = self.flags.iter().map(|(name, text)| FlagValue {
            flag: format!("--{}", flag_name(name)),
            setting: SCHEMA.by_name(name).unwrap(),
            text: (*text).into(),
            form: FlagForm::Value,
        });

        Sources::collect(&SCHEMA, flags, &environment.into_iter().collect())
    }

    fn value<T>(&self, setting: &TypedSetting<T>) -> Result<T, SettingsError> {
        self.collect()?.value(setting)
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let mut given = Given {
        flags: &[("LIMIT", "1")],
        environment: &[("LIMIT", "2")],
        file: Some("limit = 3"),
    };

    assert_eq!(given.value(&LIMIT).unwrap(), 1);
    given.flags = &[];
    assert_eq!(given.value(&LIMIT).unwrap(), 2);
    given.environment = &[];
    assert_eq!(given.value(&LIMIT).unwrap(), 3);
    given.file = None;
    assert_eq!(given.value(&LIMIT).unwrap(), 8);
}

/// The strongest of several wrong values is named.
#[test]
fn a_wrong_value_of_a_weaker_source_is_refused_too() {
    let error = |given: Given<'_>| given.value(&LIMIT).unwrap_err().to_string();

    let weaker = error(Given {
        flags: &[("LIMIT", "1")],
        environment: &[("LIMIT", "abc")],
        ..Given::default()
    });
    let weakest = error(Given {
        flags: &[("LIMIT", "1")],
        environment: &[("LIMIT", "2")],
        file: Some("limit = 'abc'"),
    });
    let both = error(Given {
        flags: &[("LIMIT", "xyz")],
        environment: &[("LIMIT", "abc")],
        ..Given::default()
    });

    assert_eq!(
        weaker,
        "invalid LIMIT (environment variable LIMIT): \"abc\", expected a whole number, at least 1"
    );
    assert!(
        weakest.starts_with("invalid LIMIT (key limit of the file "),
        "{weakest}"
    );
    assert!(
        both.starts_with("invalid LIMIT (flag --limit): \"xyz\""),
        "{both}"
    );
}

#[test]
fn a_weaker_source_does_not_win_by_another_name() {
    let by_alias = Given {
        environment: &[("OLD_KEY", "weak")],
        flags: &[("KEY", "strong")],
        ..Given::default()
    };
    let by_name = Given {
        environment: &[("KEY", "weak")],
        flags: &[("OLD_KEY", "strong")],
        ..Given::default()
    };

    assert_eq!(by_alias.value(&KEY).unwrap(), "strong");
    assert_eq!(by_name.value(&KEY).unwrap(), "strong");
}

#[test]
fn settings_that_add_up_are_read_from_every_source() {
    let given = Given {
        flags: &[("VARIABLES", "FLAG")],
        environment: &[("VARIABLES", "ENVIRONMENT")],
        file: Some("variables = ['FILE']\n[item]\nenv = { TABLE = 'x' }"),
    };

    let sources = given.collect().unwrap();
    let all = sources.entries("item")[0].all(&VARIABLES).unwrap();

    let names: Vec<&str> = all.iter().flatten().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["FILE", "ENVIRONMENT", "FLAG", "TABLE"]);
}

#[test]
fn a_secret_can_be_in_a_file_that_flag_or_variable_names() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "open sesame\n").unwrap();
    let path = file.path().to_str().unwrap();

    for name in ["KEY_FILE", "OLD_KEY_FILE"] {
        let given = Given {
            environment: &[(name, path)],
            ..Given::default()
        };
        assert_eq!(given.value(&KEY).unwrap(), "open sesame");
    }
    let flag = FlagValue {
        flag: "--key-file".into(),
        setting: &KEY.setting,
        text: path.into(),
        form: FlagForm::FileOfValue,
    };
    let sources = Sources::collect(&SCHEMA, [flag], &Environment::default()).unwrap();
    assert_eq!(sources.value(&KEY).unwrap(), "open sesame");
    assert_eq!(sources.secret_flags(), [""; 0]);
}

#[test]
fn a_wrong_secret_of_a_file_names_the_file_and_not_the_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2 \n").unwrap();
    let path = file.path().to_str().unwrap();
    let given = Given {
        environment: &[("KEY_FILE", path)],
        ..Given::default()
    };

    let text = given.value(&KEY).unwrap_err().to_string();

    let place = format!("the file {path:?} of environment variable KEY_FILE");
    assert!(text.contains(&place), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn flags_with_secrets_are_known() {
    let given = Given {
        flags: &[("KEY", "hunter2"), ("LIMIT", "3")],
        ..Given::default()
    };

    assert_eq!(given.collect().unwrap().secret_flags(), ["--key"]);
}

#[test]
fn lenient_sources_collect_every_problem_once() {
    let environment = [
        ("LIMIT", "many"),
        ("RETRY", "perhaps"),
        ("ITEM_TOKEN", " x"),
    ];
    let sources = Sources::collect_leniently(&SCHEMA, [], &environment.into_iter().collect());

    assert_eq!(sources.value(&LIMIT).unwrap(), 8, "the default");
    assert_eq!(sources.explicit(&crate::example::RETRY).unwrap(), None);
    for _ in 0..2 {
        assert_eq!(
            sources.entries("item")[0].explicit(&ITEM_TOKEN).unwrap(),
            None
        );
    }

    let problems = sources.take_problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(sources.take_problems().is_empty());
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let given = Given {
        environment: &[("LIMIT", ""), ("KEY", ""), ("OLD_KEY", "k")],
        file: Some("limit = 3"),
        ..Given::default()
    };

    assert_eq!(given.value(&LIMIT).unwrap(), 3);
    assert_eq!(given.value(&KEY).unwrap(), "k");
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let given = Given {
        environment: &[("CONFIG_FILE", "/nowhere/app.toml")],
        ..Given::default()
    };

    let text = given.collect().map(|_| ()).unwrap_err().to_string();
    assert!(
        text.starts_with("cannot read the file \"/nowhere/app.toml\": "),
        "{text}"
    );
}

#[test]
fn two_names_of_one_setting_must_agree_within_a_source() {
    let error = |given: Given<'_>| given.collect().map(|_| ()).unwrap_err().to_string();

    let variables = error(Given {
        environment: &[("KEY", "hunter2"), ("OLD_KEY", "hunter3")],
        ..Given::default()
    });
    let flags = error(Given {
        flags: &[("KEY", "hunter2"), ("OLD_KEY", "hunter3")],
        ..Given::default()
    });

    assert_eq!(
        variables,
        "environment variable KEY and environment variable OLD_KEY are the same setting but have \
         different values: use only one"
    );
    assert!(
        flags.starts_with("flag --key and flag --old-key are the same"),
        "{flags}"
    );
}

#[test]
fn of_conventional_names_the_first_that_is_set_counts() {
    let proxy = |environment: &[(&str, &str)]| {
        let given = Given {
            environment,
            ..Given::default()
        };
        given.value(&PROXY).unwrap()
    };

    assert_eq!(proxy(&[("https_proxy", "a")]).as_deref(), Some("a"));
    assert_eq!(proxy(&[("all_proxy", "b")]).as_deref(), Some("b"));
    assert_eq!(
        proxy(&[("ALL_PROXY", "b"), ("HTTPS_PROXY", "a")]).as_deref(),
        Some("a")
    );
}

#[test]
fn lists_are_separated_by_commas_or_arrays() {
    let text = Given {
        file: Some("hosts = 'a, b'"),
        ..Given::default()
    };
    let array = Given {
        file: Some("hosts = ['a', 'b']"),
        ..Given::default()
    };

    assert_eq!(text.value(&HOSTS).unwrap(), ["a", "b"]);
    assert_eq!(array.value(&HOSTS).unwrap(), ["a", "b"]);
}

#[cfg(unix)]
#[test]
fn a_setting_that_is_not_utf8_is_refused() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let collect = |name: &str| {
        let broken = OsString::from_vec(vec![b'h', 0xff]);
        let environment = [(OsString::from(name), broken)].into_iter().collect();
        Sources::collect(&SCHEMA, [], &environment).map(|_| ())
    };

    assert_eq!(
        collect("KEY").unwrap_err().to_string(),
        "invalid KEY (environment variable KEY): value not shown, expected UTF-8"
    );
    assert!(collect("SOMETHING_ELSE").is_ok());
}

#[test]
fn a_url_is_shown_without_its_secrets() {
    let error = |url| {
        let given = Given {
            environment: &[("ITEM_URL", url)],
            ..Given::default()
        };
        given.value(&ITEM_URL).unwrap_err().to_string()
    };

    assert!(error("ftp://a/b?token=hunter2").contains("\"ftp://a/b\""));
    for bad in ["ftp://me:hunter2@a", "ftp://a#hunter2"] {
        let text = error(bad);
        assert!(text.contains("value not shown"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_long_value_is_cut() {
    let long = "x".repeat(1000);
    let environment = [("LIMIT", long.as_str())];
    let given = Given {
        environment: &environment,
        ..Given::default()
    };

    let text = given.value(&LIMIT).unwrap_err().to_string();
    assert!(text.len() < 200 && text.contains('…'), "{text}");
}

/// Two entries, the second of which sets neither token nor headers.
const TWO_ENTRIES: &str = "\
[[item]]
url = 'http://a'
token = 'own'
headers = ['own']
[[item]]
url = 'http://b'
";

#[test]
fn an_entry_is_stronger_than_what_is_set_for_all() {
    let file = format!("item_token = 'shared'\n{TWO_ENTRIES}");
    let given = Given {
        flags: &[("ITEM_HEADERS", "flag")],
        file: Some(&file),
        ..Given::default()
    };

    let sources = given.collect().unwrap();
    let [one, two] = &sources.entries("item")[..] else {
        panic!("not two entries");
    };

    assert_eq!(one.value(&ITEM_URL).unwrap(), "http://a");
    assert_eq!(one.value(&ITEM_TOKEN).unwrap(), "own");
    assert_eq!(one.value(&ITEM_HEADERS).unwrap(), ["own"]);
    assert_eq!(two.value(&ITEM_URL).unwrap(), "http://b");
    assert_eq!(two.value(&ITEM_TOKEN).unwrap(), "shared");
    assert_eq!(two.value(&ITEM_HEADERS).unwrap(), ["flag"]);
}

#[test]
fn without_entry_tables_the_settings_are_the_entry() {
    let sources = Given {
        environment: &[("ITEM_URL", "http://a")],
        ..Given::default()
    };

    let sources = sources.collect().unwrap();
    let entries = sources.entries("item");

    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].value(&ITEM_URL).unwrap(), "http://a");
    assert_eq!(entries[0].explicit(&ITEM_TOKEN).unwrap(), None);
}

#[test]
fn a_per_entry_setting_outside_of_the_tables_is_refused() {
    let error = |given: Given<'_>| given.collect().map(|_| ()).unwrap_err().to_string();
    let rest = "cannot be combined with [[item]] tables: use url in each table";

    let flag = error(Given {
        flags: &[("ITEM_URL", "http://c")],
        file: Some(TWO_ENTRIES),
        ..Given::default()
    });
    let key = error(Given {
        file: Some("item_url = 'http://c'\n[item]\nurl = 'http://a'"),
        ..Given::default()
    });

    assert_eq!(flag, format!("flag --item-url {rest}"));
    assert!(
        key.starts_with("key item_url of the file ") && key.ends_with(rest),
        "{key}"
    );
}

#[test]
fn an_entry_has_one_of_two_keys() {
    let check = |file| {
        let given = Given {
            file: Some(file),
            ..Given::default()
        };
        let sources = given.collect().unwrap();
        let entries = sources.entries("item");
        let last = entries.last().unwrap();
        last.refuse_neither(&ITEM_URL.setting, &ITEM_COMMAND.setting)?;
        last.refuse_both(&ITEM_URL.setting, &ITEM_COMMAND.setting)
    };

    assert!(check(TWO_ENTRIES).is_ok());
    assert!(check("").is_ok(), "no table is incomplete");

    let neither = check("[[item]]\nurl = 'http://a'\n[[item]]").unwrap_err();
    let neither = neither.to_string();
    assert!(neither.starts_with("item 2 of the file \"/"), "{neither}");
    assert!(
        neither.ends_with(" is incomplete: expected url or command"),
        "{neither}"
    );

    let both = check("[item]\nurl = 'http://a'\ncommand = 'b'").unwrap_err();
    let both = both.to_string();
    assert!(both.ends_with("cannot be combined: use only one"), "{both}");
}

#[test]
fn secrets_are_known_by_their_variables() {
    assert!(SCHEMA.is_secret_variable("KEY"));
    assert!(SCHEMA.is_secret_variable("OLD_KEY"));
    assert!(!SCHEMA.is_secret_variable("LIMIT"));
}

#[test]
fn entry_tables_of_several_names_stand_beside_each_other() {
    let file = format!("[[group]]\nname = ''\n{TWO_ENTRIES}\n[[group]]\nname = 'b'\nlimit = 3");
    let given = Given {
        file: Some(&file),
        ..Given::default()
    };

    let sources = given.collect().unwrap();
    let groups = sources.entry_tables("group");
    let names: Vec<_> = groups
        .iter()
        .map(|group| group.required(&GROUP_NAME).unwrap())
        .collect();

    assert_eq!(names, [Some(String::new()), Some("b".into())]);
    assert_eq!(groups[1].explicit(&GROUP_LIMIT).unwrap(), Some(3));
    assert_eq!(sources.entries("item").len(), 2);
    assert!(
        Given::default()
            .collect()
            .unwrap()
            .entry_tables("group")
            .is_empty()
    );
}

#[test]
fn a_table_has_the_keys_of_its_own_name_alone() {
    let error = |file| {
        let given = Given {
            file: Some(file),
            ..Given::default()
        };
        given.collect().map(|_| ()).unwrap_err().to_string()
    };

    let foreign = error("[[group]]\nname = 'a'\nurl = 'http://a'");
    assert!(
        foreign.starts_with("unknown key \"url\" in group 1 "),
        "{foreign}"
    );
    let outside = error("group_name = 'a'");
    assert!(
        outside.starts_with("unknown key \"group_name\""),
        "{outside}"
    );

    let given = Given {
        environment: &[("GROUP_NAME", "a")],
        file: Some("[group]"),
        ..Given::default()
    };
    let sources = given.collect().unwrap();
    let missing = sources.entry_tables("group")[0].required(&GROUP_NAME);
    let missing = missing.unwrap_err().to_string();
    assert!(missing.starts_with("group of the file \"/"), "{missing}");
    assert!(
        missing.ends_with(" is incomplete: expected name"),
        "{missing}"
    );
}
