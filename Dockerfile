# docker build -t scsafety . && docker run --rm -v "$PWD/runs:/data/runs" -e DEEPSEEK_API_KEY scsafety run --model deepseek/deepseek-chat
FROM python:3.12-slim AS build
COPY . /src
RUN pip install --no-cache-dir --prefix=/made /src

FROM python:3.12-slim
COPY --from=build /made /usr/local
RUN useradd --create-home --uid 1000 scsafety && mkdir /data && chown scsafety /data
USER scsafety
WORKDIR /data
ENTRYPOINT ["scsafety"]
CMD ["--help"]
