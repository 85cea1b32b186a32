//! Settings as flags of a [`clap::Command`], and back.
//!
//! Values are parsed by the settings, never by clap: clap's errors repeat values, which may be
//! secrets.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::schema::Schema;
use crate::setting::{Setting, flag_name};
use crate::sources::{FlagForm, FlagValue};
use crate::suggest::suggest;
use crate::value::Syntax;

/// Id of the argument for the words behind `--`. No setting has this name.
const TRAILING: &str = "--";

/// Adds the flags of all settings to a command.
///
/// If a setting is a [`Syntax::Command`], the words behind `--` set it, too, and `trailing_help`
/// describes them.
pub fn add_flags(command: Command, schema: &Schema, trailing_help: &'static str) -> Command {
    let command = match trailing_setting(schema) {
        Some(_) => command.arg(trailing_argument(trailing_help)),
        None => command,
    };

    schema
        .settings()
        .fold(command, |command, setting| command.args(arguments(setting)))
}

/// Returns the flags that were given, with their values.
pub fn flag_values(schema: &Schema, matches: &ArgMatches) -> Vec<FlagValue> {
    let mut values = Vec::new();
    for setting in schema.settings() {
        for name in setting.names() {
            if let Some(texts) = texts(matches, name) {
                values.push(FlagValue {
                    flag: format!("--{}", flag_name(name)),
                    setting,
                    text: setting.syntax.join(&texts),
                    form: FlagForm::Value,
                });
            }
        }
        for name in setting.file_names() {
            if let Some(texts) = texts(matches, &name) {
                values.push(FlagValue {
                    flag: format!("--{}", flag_name(&name)),
                    setting,
                    text: texts.concat(),
                    form: FlagForm::FileOfValue,
                });
            }
        }
    }
    values.extend(trailing_value(schema, matches));
    values
}

/// Returns the flag that may be meant by an unknown one, both with dashes; `None` if none is
/// similar.
pub fn suggest_flag(schema: &Schema, flag: &str) -> Option<String> {
    let known: Vec<String> = schema
        .settings()
        .flat_map(|setting| {
            let names = setting.names().map(str::to_owned);
            names.chain(setting.file_names())
        })
        .map(|name| flag_name(&name))
        .collect();
    let known = known.iter().map(String::as_str).chain(["help", "version"]);

    let suggestion = suggest(flag.strip_prefix("--")?, known)?;
    Some(format!("--{suggestion}"))
}

/// Returns the help of a setting: its sentence, its environment variables, the name of a file with
/// its value, its default. Never a current value.
pub fn help(setting: &Setting) -> String {
    let names: Vec<&str> = setting.names().collect();
    let in_a_file = match setting.file_names().next() {
        Some(name) => format!(" [in a file: {name}]"),
        None => String::new(),
    };

    format!(
        "{} [env: {}]{in_a_file} [default: {}]",
        setting.help,
        names.join(", "),
        setting.shown_default()
    )
}

/// Returns one argument for each name of a setting. The canonical one is shown, the aliases work,
/// and those with the path of a file.
fn arguments(setting: &'static Setting) -> Vec<Arg> {
    let names = setting.names();
    let of_files = setting.file_names().map(|name| {
        Arg::new(name.clone())
            .long(flag_name(&name))
            .value_name(Syntax::Path.placeholder())
            .value_hint(ValueHint::FilePath)
            .hide(true)
    });

    names
        .map(|name| {
            let argument = argument(setting, name);
            if name == setting.name {
                with_other_flags(argument, setting)
            } else {
                argument.hide(true)
            }
        })
        .chain(of_files)
        .collect()
}

fn argument(setting: &'static Setting, name: &'static str) -> Arg {
    let argument = Arg::new(name)
        .long(flag_name(name))
        .value_name(setting.syntax.placeholder())
        .value_hint(value_hint(setting.syntax))
        .value_parser(value_parser(setting.syntax))
        .hide_possible_values(true)
        .help(help(setting))
        .help_heading(setting.group.heading);

    match setting.syntax {
        Syntax::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        syntax if syntax.is_repeatable() => argument.action(ArgAction::Append),
        _ => argument,
    }
}

fn with_other_flags(argument: Arg, setting: &Setting) -> Arg {
    let argument = match setting.flag_alias {
        Some(alias) => argument.visible_alias(alias),
        None => argument,
    };
    match setting.short {
        Some(letter) => argument.short(letter),
        None => argument,
    }
}

/// Returns what a shell completes a value with.
fn value_hint(syntax: Syntax) -> ValueHint {
    match syntax {
        Syntax::Path => ValueHint::AnyPath,
        Syntax::Url => ValueHint::Url,
        Syntax::Command => ValueHint::CommandString,
        _ => ValueHint::Other,
    }
}

fn value_parser(syntax: Syntax) -> ValueParser {
    let words = match syntax {
        Syntax::Choice(words) => words,
        Syntax::Switch => syntax.placeholder(),
        _ => return ValueParser::string(),
    };
    ValueParser::new(AnyWord { words })
}

/// Accepts every text, and offers some words to shells: the settings themselves reject what is
/// wrong.
#[derive(Clone)]
struct AnyWord {
    /// Separated by `|`.
    words: &'static str,
}

impl TypedValueParser for AnyWord {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let any_text = clap::builder::StringValueParser::new();
        any_text.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new(self.words.split('|').map(PossibleValue::new)))
    }
}

/// Returns the setting that the words behind `--` set.
fn trailing_setting(schema: &Schema) -> Option<&'static Setting> {
    schema
        .settings()
        .find(|setting| setting.syntax == Syntax::Command)
}

fn trailing_argument(help: &'static str) -> Arg {
    Arg::new(TRAILING)
        .last(true)
        .num_args(1..)
        .value_name("COMMAND")
        .value_hint(ValueHint::CommandWithArguments)
        .help(help)
}

fn trailing_value(schema: &Schema, matches: &ArgMatches) -> Option<FlagValue> {
    let setting = trailing_setting(schema)?;
    let words = texts(matches, TRAILING)?;

    Some(FlagValue {
        flag: TRAILING.to_owned(),
        setting,
        // It fails for a word with a zero byte, which no argument can contain.
        text: shlex::try_join(words).ok()?,
        form: FlagForm::Value,
    })
}

/// Returns the values of an argument, `None` if it was not given.
fn texts<'a>(matches: &'a ArgMatches, id: &str) -> Option<Vec<&'a str>> {
    let values = matches.get_many::<String>(id)?;
    Some(values.map(String::as_str).collect())
}
