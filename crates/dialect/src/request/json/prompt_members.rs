//! The members that the prompt consists of.

use std::ops::Range;

use super::Reader;
use super::values::member_of;
use crate::endpoint::{Dialect, Endpoint};
use crate::request::RequestError;
use crate::request::cursor::{Cursor, Kind, WalkError};
use crate::request::prompt::first_item;

/// The beginning of the block that Claude Code puts first into `system`. It differs in each request,
/// so that no cache of a prompt behind it is ever right.
const BILLING_HEADER: &str = "x-anthropic-billing-header:";

impl Reader {
    /// Reads a member that is a part of the prompt.
    pub(super) fn prompt(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &'static str,
    ) -> Result<(), RequestError> {
        match name {
            "tools" => self.tools(cursor)?,
            "functions" => {
                self.info.has_tools |= is_filled_array(cursor)?;
                self.info.tools.add_value(cursor)?;
            }
            "mcp_servers" => {
                self.has_hosted_tools |= is_filled_array(cursor)?;
                cursor.value()?;
            }
            "system" => self.system(cursor)?,
            "instructions" => self.info.system.add_value(cursor)?,
            "images" => self.info.messages.add_pictures(cursor)?,
            "suffix" | "query" => self.info.messages.add_value(cursor)?,
            _ => self.inputs(cursor, name)?,
        }
        Ok(())
    }

    /// Reads `messages`, `input`, `prompt` or `documents`.
    fn inputs(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Result<(), RequestError> {
        cursor.kind()?;
        let start = cursor.at();
        let items = self.info.messages.add_items(cursor)?;

        let is_the_prompt = match self.endpoint {
            Endpoint::OllamaChat => name == "messages",
            Endpoint::OllamaGenerate => name == "prompt",
            _ => true,
        };
        self.info.has_prompt |= is_the_prompt && items.count > 0;

        let counted = match self.endpoint {
            Endpoint::Embeddings | Endpoint::OllamaEmbed => "input",
            Endpoint::Rerank => "documents",
            Endpoint::Completions => "prompt",
            _ => return Ok(()),
        };
        if name == counted {
            self.info.inputs = items.count.max(1);
            // A stream of several completions mixes their pieces.
            self.info.must_stay_as_asked |= items.is_list;
            let is_divisible = items.is_list && counted == "input";
            self.spans.inputs = is_divisible.then(|| start..cursor.at());
        }
        Ok(())
    }

    /// Reads `tools`. Those of other types than these run at the runtime, or elsewhere behind it.
    fn tools(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        self.info.has_tools |= is_filled_array(cursor)?;
        if cursor.kind()? != Kind::Array {
            self.info.tools.add_value(cursor)?;
            return Ok(());
        }
        self.info.tools.add_tools(cursor, |kind| {
            // A namespace holds functions under a name of their own: Codex names MCP servers so.
            let here = [r#""function""#, r#""custom""#, r#""namespace""#, "null"];
            let is_here = here.contains(&kind);
            self.has_hosted_tools |= !is_here;
        })?;
        Ok(())
    }

    /// Reads `system`. A first block that differs in each request is no part of the prompt.
    fn system(&mut self, cursor: &mut Cursor<'_>) -> Result<(), RequestError> {
        let has_header = self.endpoint.dialect() == Dialect::Anthropic;
        if !has_header || cursor.kind()? != Kind::Array {
            self.info.system.add_items(cursor)?;
            return Ok(());
        }

        let mut is_first = true;
        let mut header: Option<Range<usize>> = None;
        cursor.each_item::<RequestError>(|cursor| {
            if let Some(header) = header.take() {
                self.spans.billing_header = Some(header.start..cursor.at());
            }
            if std::mem::take(&mut is_first) && is_billing_header(cursor)? {
                header = Some(cursor.value()?);
            } else {
                self.info.system.add_value(cursor)?;
            }
            Ok(())
        })?;
        if header.is_some() {
            self.spans.billing_header = header;
        }
        Ok(())
    }
}

/// Returns whether the value at the cursor is an array with items.
fn is_filled_array(cursor: &mut Cursor<'_>) -> Result<bool, WalkError> {
    Ok(cursor.kind()? == Kind::Array && first_item(cursor)?.is_some())
}

/// Returns whether the value at the cursor is the block that Claude Code puts first.
fn is_billing_header(cursor: &mut Cursor<'_>) -> Result<bool, WalkError> {
    let text = member_of(cursor, "text")?.map(|place| &cursor.text()[place]);
    let text = text.and_then(|text| text.strip_prefix('"'));
    Ok(text.is_some_and(|text| text.starts_with(BILLING_HEADER)))
}
