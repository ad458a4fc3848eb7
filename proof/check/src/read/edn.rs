//! A reader of EDN, the notation of Clojure's data, in which Jepsen writes histories.

use super::ReadError;
use super::form::Form;

/// Deeper nests are refused, so that no file can exhaust the stack. A history needs six.
const DEPTH_MAX: usize = 64;

/// Where the reader is in a text.
pub(crate) struct Edn<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

/// What comes next in a text.
enum Next {
    Form(Form),
    /// `)`, `]` or `}`.
    Closing(char),
    End,
}

impl<'a> Edn<'a> {
    /// Lines count from `line`.
    pub(crate) fn new(text: &'a str, line: usize) -> Self {
        Self { text, at: 0, line, line_start: 0 }
    }

    /// The next value and the line it begins on; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, Form)>, ReadError> {
        self.skip_space();
        let line = self.line;
        match self.read(0)? {
            Next::Form(form) => Ok(Some((line, form))),
            Next::End => Ok(None),
            Next::Closing(bracket) => Err(self.error(format!("{bracket} closes nothing"))),
        }
    }

    /// Steps into a vector or list that the text begins with, so that its values can be had one by one.
    pub(crate) fn enter(&mut self) -> bool {
        self.skip_space();
        let enters = matches!(self.peek(), Some('[' | '('));
        if enters {
            self.advance();
        }
        enters
    }

    /// As [`Edn::next`], where what was entered closes it.
    pub(crate) fn next_within(&mut self) -> Result<Option<(usize, Form)>, ReadError> {
        self.skip_space();
        let line = self.line;
        match self.read(0)? {
            Next::Form(form) => Ok(Some((line, form))),
            Next::Closing(']' | ')') => Ok(None),
            Next::Closing(bracket) => Err(self.error(format!("{bracket} closes what [ opened"))),
            Next::End => Err(self.error("the text ends within [ … ]: it was cut off".to_owned())),
        }
    }

    fn read(&mut self, depth: usize) -> Result<Next, ReadError> {
        if depth > DEPTH_MAX {
            return Err(self.error(format!("nested deeper than {DEPTH_MAX}")));
        }
        self.skip_space();
        let Some(first) = self.peek() else { return Ok(Next::End) };
        Ok(Next::Form(match first {
            ')' | ']' | '}' => {
                self.advance();
                return Ok(Next::Closing(first));
            }
            '(' | '[' => {
                self.advance();
                Form::List(self.items(if first == '(' { ')' } else { ']' }, depth)?)
            }
            '{' => {
                self.advance();
                self.map(depth)?
            }
            '"' => {
                self.advance();
                Form::Text(self.string()?)
            }
            ':' => {
                self.advance();
                Form::Keyword(self.token().to_owned())
            }
            '\\' => {
                self.advance();
                let character = self.advance().map(String::from).unwrap_or_default();
                Form::Text(character + self.token())
            }
            '#' => return self.dispatch(depth),
            '\'' | '`' | '~' | '@' => {
                self.advance();
                return self.read(depth + 1);
            }
            '^' => {
                self.advance();
                self.operand(depth, "^ is followed by nothing")?;
                return self.read(depth + 1);
            }
            _ => match self.token() {
                "" => return Err(self.error(format!("{first:?} begins no value"))),
                "nil" => Form::Nil,
                token => Form::Text(number(token).to_owned()),
            },
        }))
    }

    /// `#{…}` a set, `#_` a comment on the next value, `#tag value`, `#"…"` a pattern.
    fn dispatch(&mut self, depth: usize) -> Result<Next, ReadError> {
        self.advance();
        match self.peek() {
            Some('{') => {
                self.advance();
                Ok(Next::Form(Form::List(self.items('}', depth)?)))
            }
            Some('_') => {
                self.advance();
                self.operand(depth, "#_ is followed by nothing")?;
                self.read(depth + 1)
            }
            Some('"') => {
                self.advance();
                Ok(Next::Form(Form::Text(self.string()?)))
            }
            _ => {
                if self.token().is_empty() {
                    return Err(self.error("# is followed by no tag".to_owned()));
                }
                self.operand(depth, "a tag is followed by nothing").map(Next::Form)
            }
        }
    }

    fn operand(&mut self, depth: usize, otherwise: &str) -> Result<Form, ReadError> {
        match self.read(depth + 1)? {
            Next::Form(form) => Ok(form),
            Next::Closing(_) | Next::End => Err(self.error(otherwise.to_owned())),
        }
    }

    fn items(&mut self, closing: char, depth: usize) -> Result<Vec<Form>, ReadError> {
        let mut items = Vec::new();
        loop {
            match self.read(depth + 1)? {
                Next::Form(form) => items.push(form),
                Next::Closing(bracket) if bracket == closing => return Ok(items),
                Next::Closing(bracket) => return Err(self.error(format!("{bracket} where {closing} was to come"))),
                Next::End => return Err(self.error(format!("the text ends where {closing} was to come"))),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Form, ReadError> {
        let items = self.items('}', depth)?;
        if items.len() % 2 == 1 {
            return Err(self.error("a map holds a key without a value".to_owned()));
        }
        let mut items = items.into_iter();
        let mut entries = Vec::new();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(Form::Map(entries))
    }

    fn string(&mut self) -> Result<String, ReadError> {
        let mut text = String::new();
        loop {
            match self.advance() {
                None => return Err(self.error("the text ends within a string".to_owned())),
                Some('"') => return Ok(text),
                Some('\\') => match self.advance() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('u') => {
                        let code = self.text[self.at..].get(..4).and_then(|code| u32::from_str_radix(code, 16).ok());
                        let Some(code) = code else { return Err(self.error("\\u needs four hex digits".to_owned())) };
                        self.at += 4;
                        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    Some(other) => text.push(other),
                    None => return Err(self.error("the text ends within a string".to_owned())),
                },
                Some(other) => text.push(other),
            }
        }
    }

    fn token(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '(' | ')' | '[' | ']' | '{' | '}');
        let token = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += token.len();
        token
    }

    fn skip_space(&mut self) {
        while let Some(next) = self.peek() {
            if next == ';' {
                while self.peek().is_some_and(|next| next != '\n') {
                    self.advance();
                }
            } else if next.is_whitespace() || next == ',' {
                self.advance();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        if next == '\n' {
            self.line += 1;
            self.line_start = self.at;
        }
        Some(next)
    }

    fn error(&self, what: String) -> ReadError {
        let column = self.text[self.line_start..self.at].chars().count() + 1;
        ReadError::Text { line: self.line, column, what }
    }
}

/// Clojure marks integers of any size with N and exact decimals with M.
fn number(token: &str) -> &str {
    let digits = token.trim_end_matches(['N', 'M']);
    let is_number =
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    if is_number { digits } else { token }
}
