/** Builds the chat request as JSON, and as a curl command. */

const MAX_TOKENS = 256;

/**
 * Builds the body of POST /v1/chat/completions for one picture and one question.
 * @param {{model: string, pictureUrl: string, question: string}} parts
 */
export function chatBody({ model, pictureUrl, question }) {
  return {
    model,
    messages: [
      {
        role: "user",
        content: [
          { type: "image_url", image_url: { url: pictureUrl } },
          { type: "text", text: question },
        ],
      },
    ],
    stream: true,
    stream_options: { include_usage: true },
    temperature: 0,
    max_tokens: MAX_TOKENS,
  };
}

/** Placeholder for the picture's URL; a character that a user cannot type. */
const PLACEHOLDER = "\u0000";

/**
 * Builds a curl command that sends the same request. The body is a here-document, because a picture
 * does not fit into an argument. Files are read where the command runs; the key is read from an
 * environment variable.
 *
 * @param {{endpoint: string, sample: string, model: string, question: string, withKey: boolean,
 *   picture: import("./picture.js").Picture}} parts
 * @returns {Promise<string>}
 */
export async function curlCommand({ endpoint, sample, model, question, withKey, picture }) {
  const pictureUrl = await shellPicture(picture, sample);
  const body = JSON.stringify(chatBody({ model, pictureUrl: PLACEHOLDER, question }), null, 2);
  const placeholder = JSON.stringify(PLACEHOLDER).slice(1, -1);
  const at = body.indexOf(placeholder);
  const lines = [
    `curl -sSN ${quoted(endpoint)} \\`,
    "  -H 'content-type: application/json' \\",
    ...(withKey ? ['  -H "authorization: Bearer $SILKLINE_API_KEY" \\'] : []),
    "  --data-binary @- <<JSON",
    literal(body.slice(0, at)) + pictureUrl + literal(body.slice(at + placeholder.length)),
    "JSON",
    "",
  ];
  return lines.join("\n");
}

/** The picture's URL in the here-document: its address, a command substitution, or its data URL. */
async function shellPicture(picture, sample) {
  const encode = "base64 | tr -d '\\n'";
  switch (picture.source) {
    case "url":
      return literal(JSON.stringify(picture.url).slice(1, -1));
    case "sample":
      return `data:${picture.type};base64,$(curl -s ${quoted(sample)} | ${encode})`;
    case "file":
      return `data:${picture.type};base64,$(cat < ${quoted(picture.name)} | ${encode})`;
    default:
      return literal(await picture.asUrl());
  }
}

/** Quotes text so that the shell passes it on unchanged. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Escapes text so that an unquoted here-document leaves it unchanged. */
const literal = (text) => text.replace(/[\\$`]/g, "\\$&");
