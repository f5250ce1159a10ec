import http from "k6/http";
import { check } from "k6";

export const options = {
  scenarios: {
    arrivals: { executor: "constant-arrival-rate", rate: 10, duration: "2s", preAllocatedVUs: 10 },
  },
  thresholds: { http_req_failed: ["rate==0"], checks: ["rate==1"] },
};

const url = `data:image/jpeg;base64,${__ENV.IMAGE}`;
const parts = [
  { type: "image_url", image_url: { url } },
  { type: "text", text: "Describe this product." },
];
const stream = __ENV.STREAM !== "";

export default function () {
  const body = { model: __ENV.MODEL, messages: [{ role: "user", content: parts }], stream };
  const headers = { "Content-Type": "application/json", Authorization: "Bearer none" };
  const answer = http.post(`${__ENV.BASE_URL}/chat/completions`, JSON.stringify(body), { headers });
  check(answer, {
    answered: ({ status, body: text }) =>
      status === 200 && (stream ? text.endsWith("data: [DONE]\n\n") : answer.json("choices.0.message.content") !== ""),
  });
}
